"""What an exported policy or run is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.settings.checks import at_least

SUFFIXES = {"torchscript": ".pt", "onnx": ".onnx"}
"""Of the files, by format; a run is a folder."""


@dataclass(frozen=True)
class ExportConfig:
    """In which form a trained policy is written: for programs that do not know ppo_mpi, or as a run
    that can be shared."""

    run: str = ""
    """The run: a name under checkpoint_dir, gallery/NAME, or the path of a run or of one of its
    checkpoints; empty takes the newest run."""
    format: Literal["torchscript", "onnx", "run"] = "torchscript"
    """torchscript (torch.jit.load, libtorch), onnx (onnxruntime and others; needs the packages of
    ppo_mpi[export]), or run: a folder with the policy, curves, evaluations and the report, which
    play, record, evaluate, plot, report and --borrow-from take, and in which no training goes
    on."""
    output: str = ""
    """File to write, which may exist, or folder of a run, which may not; empty writes
    asset_dir/<run>/<run>-<timesteps>, with .pt or .onnx."""
    verify: bool = True
    """Whether what was written is loaded again and compared with the agent in its environment."""
    env: str = ""
    """The run's environment where that is code of your own: naming it says that you trust it."""
    env_kwargs: tuple[str, ...] = ()
    """The run's arguments of its environment, where they are more than numbers and plain words."""
    asset_dir: str = "assets"
    """Folder of what is made of a run."""
    checkpoint_dir: str = "checkpoints"
    """Folder of the runs."""
    threads: int = 0
    """Processor threads; 0 = all cores."""

    def validate(self, world_size: int = 1) -> None:
        """Check what can be checked before the run is opened.

        Raises:
            ConfigError: a value is out of its range, or file name and format contradict each other.
        """
        at_least(0, threads=self.threads)
        for name, suffix in SUFFIXES.items():
            if name != self.format and self.output.endswith(suffix):
                raise ConfigError(
                    f"output={self.output} and format={self.format} contradict each other; use "
                    f"--format {name}"
                )
