"""doctor: is everything there that training, recording and playing need, and what to do if not.

What may crash (a broken MPI, an engine that does not fit the processor) is tried in a process of
its own, with a time limit.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import DoctorConfig
from ppo_mpi.storage.video import find_ffmpeg

SECONDS = 60.0
"""How long each check may take; a cold file system is slow the first time."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    level: Literal["OK", "WARN", "FAIL"]
    """Fine; something optional is missing; something needed is broken."""
    what: str
    """What was checked."""
    text: str
    """What was found, and what to do if it is not right."""


def doctor_command(config: DoctorConfig) -> int:
    """Check the installation and print a line for each finding.

    Returns:
        the exit status: 1 if something that is needed is broken.
    """
    checks: list[Callable[[], Finding]] = [
        check_python,
        check_torch,
        check_kernels,
        check_gpu,
        check_mpi_library,
        check_launcher,
        check_procgen,
        check_gymnasium,
        check_box2d,
        check_opencv,
        check_ffmpeg,
        check_display,
        lambda: check_folder(Path(config.checkpoint_dir)),
    ]
    return show(check() for check in checks)


def show(findings: Iterable[Finding]) -> int:
    """Print each finding as it comes; return the exit status."""
    failed = 0
    for finding in findings:
        failed += finding.level == "FAIL"
        print(f"{finding.level:4}  {finding.what:12} {finding.text}", flush=True)
    print("\neverything needed is there" if not failed else f"\n{failed} thing(s) to mend")
    return 1 if failed else 0


def run_apart(command: Sequence[str], seconds: float = SECONDS) -> tuple[int, str]:
    """Run a command in a process of its own.

    Returns:
        its exit status (124 if it ran out of time, 127 if it could not be started) and what it
        printed, or its last line on standard error if it failed.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {seconds:.0f} s"
    except OSError as error:
        return 127, str(error.strerror)
    if done.returncode == 0:
        return 0, done.stdout.strip()
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return done.returncode, lines[-1].strip() if lines else f"exit status {done.returncode}"


def _python(code: str) -> tuple[int, str]:
    return run_apart([sys.executable, "-c", code])


def check_python() -> Finding:
    """Check Python's version."""
    version = f"{platform.python_version()} on {platform.platform(terse=True)}"
    if sys.version_info >= (3, 13):
        return Finding("WARN", "python", f"{version}; Procgen exists for 3.10, 3.11 and 3.12 only")
    return Finding("OK", "python", version)


def check_torch() -> Finding:
    """Check that torch and numpy can be imported and share memory."""
    code = (
        "import numpy, torch; a = numpy.zeros(2, 'float32'); torch.from_numpy(a).add_(1); "
        "assert a.sum() == 2; print(f'{torch.__version__}, numpy {numpy.__version__}')"
    )
    status, text = _python(code)
    if status:
        return Finding("FAIL", "torch", f"{text}; pip install 'torch>=2.2' 'numpy<2'")
    return Finding("OK", "torch", text)


def check_kernels() -> Finding:
    """Check whether the faster layers were built when ppo_mpi was installed, and can be used."""
    code = (
        "from ppo_mpi.networks import compiled, convolution, pooling; "
        "print(pooling.kernels() is not None and compiled.load_library('convolution') is not None, "
        "convolution.kernels() is not None)"
    )
    status, text = _python(code)
    if status or text.split()[:1] != ["True"]:
        return Finding(
            "WARN", "kernels", "not all built, so bfloat16 images train slower by a third; "
            "apt install gcc libc6-dev, and pip install ppo_mpi again",
        )  # fmt: skip
    if text.split()[1:] != ["True"]:
        return Finding(
            "OK", "kernels", "max-pooling in bfloat16; convolutions are torch's, as this is no "
            "processor with AVX-512 BF16 and without AMX, or no Linux with GCC 11 or later",
        )  # fmt: skip
    return Finding("OK", "kernels", "convolutions and max-pooling in bfloat16")


def check_gpu() -> Finding:
    """Check for a GPU and for fast bfloat16."""
    code = (
        "import torch; from ppo_mpi.distributed.machine import has_fast_bfloat16 as fast\n"
        "gpu = torch.cuda.is_available(); device = torch.device('cuda' if gpu else 'cpu')\n"
        "names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]\n"
        "print(', '.join(names) if gpu else 'no GPU: training runs on the processor', "
        "'bfloat16 is ' + ('fast' if fast(device) else 'not fast') + ' here', sep='; ')"
    )
    status, text = _python(code)
    return Finding("WARN" if status else "OK", "gpu", text)


def check_mpi_library() -> Finding:
    """Check which MPI library mpi4py finds."""
    status, text = _python("from mpi4py import MPI; print(MPI.Get_library_version())")
    if status:
        remedy = (
            "one process works without; for several load your cluster's MPI module, or "
            'pip install "ppo_mpi[mpich]"'
        )
        return Finding("WARN", "mpi", f"mpi4py finds no MPI library ({text}); {remedy}")
    return Finding("OK", "mpi", f"mpi4py {metadata.version('mpi4py')}, {_first_line(text)}")


def check_launcher() -> Finding:
    """Check that two ranks that the launcher starts find each other."""
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        srun = shutil.which("srun")
        text = f"no mpirun on the PATH{', but ' + srun if srun else ''}"
        remedy = "" if srun else '; pip install "ppo_mpi[mpich]", or activate its environment'
        return Finding("OK" if srun else "WARN", "launcher", text + remedy)
    # One rank speaks for all, as a launcher may mix what two of them print.
    code = "from mpi4py.MPI import COMM_WORLD as w; w.Get_rank() or print('size', w.Get_size())"
    flags = _open_mpi_flags(launcher)
    status, text = run_apart([launcher, *flags, "-np", "2", sys.executable, "-c", code])
    shown = " ".join([launcher, *flags])
    if status:
        return Finding("FAIL", "launcher", f"`{shown} -np 2` failed: {text}")
    if text != "size 2":
        remedy = "use the mpirun of the library above, or set MPI4PY_LIBMPI to the launcher's"
        text = "launcher and MPI library do not belong together: the ranks do not find each other"
        return Finding("FAIL", "launcher", f"{shown}: {text}; {remedy}")
    return Finding("OK", "launcher", f"{shown}: two ranks find each other")


def _open_mpi_flags(launcher: str) -> list[str]:
    """Return what Open MPI's mpirun needs as root and on few cores; nothing for others."""
    _, version = run_apart([launcher, "--version"])
    if "open" not in version.lower():
        return []
    return ["--oversubscribe"] + (["--allow-run-as-root"] if os.geteuid() == 0 else [])


def check_procgen() -> Finding:
    """Check that a Procgen environment can be made and drawn."""
    code = (
        "import gym_notices.notices as n; n.notices.clear()\n"
        "from procgen import ProcgenGym3Env as E\n"
        "e = E(num=1, env_name='coinrun', num_threads=0, rand_seed=1); print(e.observe()[1]['rgb']"
        ".shape)"
    )
    status, text = _python(code)
    if status:
        package = "procgen" if sys.version_info < (3, 11) else "procgen-mirror"
        remedy = f"pip install {package} (Python 3.10 to 3.12 on x86-64); other suites work without"
        return Finding("WARN", "procgen", f"{text}; {remedy}")
    return Finding("OK", "procgen", "an environment was made")


def check_gymnasium() -> Finding:
    """Check that classic control works."""
    code = "import gymnasium as g; e = g.make('CartPole-v1'); e.reset(seed=1); print(g.__version__)"
    status, text = _python(code)
    if status:
        return Finding("FAIL", "gymnasium", f"{text}; pip install 'gymnasium>=1.0,<2'")
    pygame = (
        "" if importlib.util.find_spec("pygame") else '; pip install "ppo_mpi[classic]" to draw'
    )
    return Finding("WARN" if pygame else "OK", "gymnasium", text + pygame)


def check_box2d() -> Finding:
    """Check that LunarLander can be made."""
    status, text = _python("import gymnasium; gymnasium.make('LunarLander-v3').reset(seed=1)")
    if status:
        return Finding("WARN", "box2d", f'{text}; for LunarLander: pip install "ppo_mpi[classic]"')
    return Finding("OK", "box2d", "LunarLander was made")


def check_opencv() -> Finding:
    """Check that opencv, which opens the window of play, can be imported."""
    status, text = _python("import cv2; print(cv2.__version__)")
    if status:
        remedy = (
            "apt install libgl1, or pip uninstall opencv-python && "
            "pip install 'opencv-python-headless<4.12' (then without windows)"
        )
        return Finding("WARN", "opencv", f"{text}; {remedy}")
    return Finding("OK", "opencv", text)


def check_ffmpeg() -> Finding:
    """Check that there is an ffmpeg that runs."""
    try:
        path = str(find_ffmpeg())
    except ConfigError as error:
        return Finding("WARN", "ffmpeg", f"{error}")
    status, text = run_apart([path, "-version"])
    if status:
        return Finding("WARN", "ffmpeg", f"{path} does not run ({text}); videos need it")
    return Finding("OK", "ffmpeg", f"{path}, {_first_line(text)}")


def check_display() -> Finding:
    """Check whether play can open a window."""
    names = [name for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    if not names and sys.platform not in ("darwin", "win32"):
        return Finding("OK", "display", "none: play draws in the terminal, or writes a video")
    return Finding("OK", "display", " and ".join(names) or "there")


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or the first one above it that exists."""
    return next(f for f in (folder.resolve(), *folder.resolve().parents) if f.exists())


def check_folder(folder: Path) -> Finding:
    """Check that runs can be written."""
    existing = nearest_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        remedy = "use --checkpoint-dir, or make it writable"
        return Finding(
            "FAIL", "checkpoints", f"cannot write {existing} ({error.strerror}); {remedy}"
        )
    free = shutil.disk_usage(existing).free / 2**30
    return Finding("OK", "checkpoints", f"{folder} is writable, {free:.0f} GiB free")


def _first_line(text: str) -> str:
    lines = text.splitlines()
    return lines[0].strip()[:100] if lines else ""
