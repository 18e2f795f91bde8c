"""The files that an exported policy is written to and read from: TorchScript and ONNX.

Axes: N observations.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.modes.exported_policy import ExportedPolicy
from ppo_mpi.storage.durable import write_atomically

METADATA = "ppo_mpi.json"
"""In a TorchScript file the extra file with the metadata; in ONNX the property ``ppo_mpi``."""
EXAMPLES = 3
"""Observations that are traced; one would be taken for a constant size."""
OPSET = 18

Loaded = Callable[[Sequence[np.ndarray]], dict[str, np.ndarray]]
"""A file read again: inputs, in the order of their names -> outputs by name."""


def check_installed(file_format: str) -> None:
    """Refuse a format whose packages are not there.

    Raises:
        MissingPackageError: with the command that installs them.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if file_format == "onnx" else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"format=onnx needs {', '.join(missing)}; install with: pip install 'ppo_mpi[export]' "
            "(--format torchscript needs nothing more)"
        )


def write_policy(
    file_format: str,
    path: Path,
    policy: ExportedPolicy,
    examples: Sequence[np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    """Write a policy to a file, which is replaced as a whole.

    Args:
        file_format: torchscript or onnx.
        path: of the file.
        policy: on the processor.
        examples: of its inputs, ``EXAMPLES`` observations.
        metadata: JSON that stands in the file.

    Raises:
        ConfigError: torch's exporter cannot express the network.
    """
    inputs = tuple(map(torch.from_numpy, examples))
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    write = _onnx if file_format == "onnx" else _torchscript
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself; what is written is verified
        content = write(policy, inputs, text)
    write_atomically(path, content)


def _torchscript(policy: ExportedPolicy, inputs: tuple[torch.Tensor, ...], text: str) -> bytes:
    traced = torch.jit.trace(policy, inputs, check_trace=False)
    content = io.BytesIO()
    torch.jit.save(traced, content, _extra_files={METADATA: text})
    return content.getvalue()


def _onnx(policy: ExportedPolicy, inputs: tuple[torch.Tensor, ...], text: str) -> bytes:
    batch = torch.export.Dim("batch")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(
            policy, inputs, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=policy.input_names, output_names=policy.output_names,
            dynamic_shapes=(tuple({0: batch} for _ in inputs),),
        )  # fmt: skip
    except Exception as error:  # whatever torch's exporter says of a network that it cannot take
        raise ConfigError(
            f"format=onnx: torch {torch.__version__} cannot express this network ("
            f"{str(error).strip().splitlines()[0] if str(error).strip() else error!r}); use "
            "--format torchscript"
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None, "the dynamo exporter returns a program"
    model = program.model_proto
    model.metadata_props.add(key="ppo_mpi", value=text)
    content: bytes = model.SerializeToString()
    return content


def read_policy(file_format: str, path: Path) -> tuple[Loaded, dict[str, Any]]:
    """Read a file again, without anything of this package; return its function and metadata."""
    if file_format == "onnx":
        return _read_onnx(path)
    extra = {METADATA: ""}
    module = torch.jit.load(str(path), _extra_files=extra)
    metadata = json.loads(extra[METADATA])

    def run(inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = module(*map(torch.from_numpy, inputs))
        return {name: own.numpy() for name, own in zip(metadata["outputs"], found, strict=True)}

    return run, metadata


def _read_onnx(path: Path) -> tuple[Loaded, dict[str, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["ppo_mpi"])

    def run(inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        names = [own.name for own in session.get_outputs()]
        found = session.run(names, dict(zip(metadata["inputs"], inputs, strict=True)))
        return dict(zip(names, found, strict=True))

    return run, metadata
