"""The mode export: a trained policy as a file for programs that do not know ppo_mpi, or as a run.

Axes: N observations; S numbers of a memory.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ppo_mpi
from ppo_mpi.agent import Agent, load_agent
from ppo_mpi.config import flatten
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.machine import set_threads
from ppo_mpi.envs.spaces import clipped
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.reproducible import outputs_and_memory
from ppo_mpi.modes.evaluation_report import check_writable
from ppo_mpi.modes.export_formats import (
    EXAMPLES,
    check_installed,
    read_policy,
    write_policy,
)
from ppo_mpi.modes.export_run import export_run
from ppo_mpi.modes.exported_policy import ExportedPolicy, as_inputs, deviations
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.settings.export import SUFFIXES, ExportConfig
from ppo_mpi.storage.video import free_path

STEPS, PLACES = 8, 16
"""In how many steps of how many environments the file is compared with the agent."""
TOLERANCE = 1e-3
"""The largest difference of a number, relative where it is above 1, that may be rounding."""
CLOSE = 1e-4
"""How near two choices must be to each other to be confused by rounding."""


def export_command(config: ExportConfig) -> int:
    """Write the policy of a run to a file or a folder, and compare that with the agent.

    Returns:
        the exit status: 1 if what was written does not do what the agent does.

    Raises:
        ConfigError: it cannot be written, or the network cannot be expressed.
    """
    set_threads(config.threads, Communicator().node_affinities, 0)
    if config.format == "run":
        return export_run(config)
    check_installed(config.format)
    agent = load_agent(
        config.run, config.checkpoint_dir, "cpu", "float32", config.env, config.env_kwargs
    )
    path = output_path(agent, config)
    check_writable(output=str(path))
    metadata = export(agent, config.format, path)
    size = path.stat().st_size / 2**20
    names = f"{', '.join(metadata['inputs'])} -> {', '.join(metadata['outputs'])}"
    print(f"wrote {path}: {config.format}, {size:.1f} MiB; {names}")
    if not config.verify:
        return 0
    largest, differing, num = verify(agent, config.format, path)
    shown = ", ".join(f"{name} {number:.1e}" for name, number in largest.items())
    print(f"verified on {num} observations; largest differences: {shown}")
    if differing or max(largest.values()) > TOLERANCE:
        print(f"the file does NOT do what the agent does ({differing} other actions)")
        return 1
    return 0


def output_path(agent: Agent, config: ExportConfig) -> Path:
    """Return where the file goes; without ``output`` no existing file is touched.

    Raises:
        ConfigError: the folder of assets cannot be made.
    """
    if config.output:
        return Path(config.output).expanduser()
    folder = agent.assets_in(config.asset_dir)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {folder} ({error.strerror}); choose another --asset-dir, or "
            "a file with --output"
        ) from error
    return free_path(folder / f"{agent.run_name}-{agent.timesteps}{SUFFIXES[config.format]}")


def export(agent: Agent, file_format: str, path: Path) -> dict[str, Any]:
    """Write an agent's policy; return the metadata that stands in the file.

    Args:
        agent: on the processor, calculating in float32.
        file_format: torchscript or onnx.
        path: of the file, which is replaced.

    Raises:
        ConfigError: the network cannot be expressed, or calculates in another way.
    """
    where = next(agent.model.parameters()).device.type
    if where != "cpu" or agent.model.precision != torch.float32:
        raise ConfigError(
            f"the agent is on {where} and calculates in {agent.model.precision}; load it with "
            'device="cpu", precision="float32"'
        )
    policy = ExportedPolicy(agent).eval()
    spec = agent.model.obs_spec
    rows = np.zeros((EXAMPLES, *spec.shape), spec.dtype)
    examples = [*as_inputs(spec, rows), *memory_input(agent, agent.no_memory(EXAMPLES))]
    metadata = describe(agent, policy)
    write_policy(file_format, path, policy, examples, metadata)
    return metadata


def describe(agent: Agent, policy: ExportedPolicy) -> dict[str, Any]:
    """Return what a file says of its policy, as JSON."""
    spec, actions = agent.model.obs_spec, agent.model.action_spec
    own = {"type": type(actions).__name__, **dataclasses.asdict(actions)}
    if parts := getattr(actions, "parts", ()):
        own["parts"] = [{"type": type(p).__name__, **dataclasses.asdict(p)} for p in parts]
    metadata = {
        "ppo_mpi": ppo_mpi.__version__,
        "run": agent.run_name,
        "timesteps": agent.timesteps,
        "env": agent.config.environment.env,
        "inputs": policy.input_names,
        "outputs": policy.output_names,
        "observation": dataclasses.asdict(spec),
        "observation_space": str(agent.spaces.observations),
        "action": own,
        "action_space": str(agent.spaces.actions),
        "log_std": deviations(agent),
        "memory_size": agent.model.memory_size,
        "config": flatten(agent.config),
    }
    return {name: finite(value) for name, value in metadata.items()}


def finite(value: Any) -> Any:
    """Return a value with None for its infinite numbers, which JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def memory_input(agent: Agent, memory: np.ndarray) -> list[np.ndarray]:
    """Return the input that is a memory [N, S], none where nothing is remembered."""
    return [memory] if agent.model.memory_size else []


def verify(agent: Agent, file_format: str, path: Path) -> tuple[dict[str, float], int, int]:
    """Compare a file with the agent, in steps of episodes that the agent plays.

    Args:
        agent: on the processor, calculating in float32.
        file_format: torchscript or onnx.
        path: of the file.

    Returns:
        output -> largest difference (relative where the number is above 1), how many actions
        differ that are not a matter of rounding, and the number of observations.
    """
    run, _ = read_policy(file_format, path)
    envs = agent.make_envs(PLACES, 0, stream="export")
    try:
        obs, memory = envs.reset(), agent.no_memory(PLACES)
        largest: dict[str, float] = {}
        differing = num = 0
        for step in range(STEPS):
            kept = slice(0, 1 if step == 0 else PLACES)  # the number of observations is free
            wanted = expected(agent, obs[kept], memory[kept])
            inputs = as_inputs(agent.model.obs_spec, obs[kept])
            found = run([*inputs, *memory_input(agent, memory[kept])])
            for name, own in wanted.items():
                gap = np.abs(found[name] - own) / np.maximum(np.abs(own), 1.0)
                gap = np.nan_to_num(gap, nan=np.inf)  # no comparison finds a NaN too large
                if name == "action" and own.dtype.kind == "i":
                    differing += count_other(agent, wanted, found)
                    continue
                largest[name] = max(largest.get(name, 0.0), float(gap.max(initial=0.0)))
            num += len(obs[kept])
            noise = draw_noise(np.random.default_rng(step), PLACES, agent.model.action_spec)
            acted = agent.act(obs, noise, memory)
            result = envs.step(acted.actions)
            obs, memory = result.obs, acted.memory
            memory[result.terminated | result.truncated] = 0.0
        return largest, differing, num
    finally:
        envs.close()


def expected(agent: Agent, obs: np.ndarray, memory: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs that a file of this agent ought to give, by ``Agent.act``."""
    acted = agent.act(obs, None, memory)
    seen = obs if agent.normalizer is None else agent.normalizer.normalize(obs)
    with torch.no_grad():
        outputs, _, _ = outputs_and_memory(
            agent.model, torch.from_numpy(seen), torch.from_numpy(memory), None
        )
    found = {
        "action": clipped(agent.model.action_spec, acted.actions),
        "policy_outputs": outputs.numpy(),
        "value": acted.values,
    }
    if acted.probabilities is not None:
        found["probabilities"] = acted.probabilities
    if agent.model.memory_size:
        found["next_memory"] = acted.memory
    return found


def count_other(agent: Agent, wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> int:
    """Return how many whole-number actions differ though the policy does not waver there."""
    others = (wanted["action"] != found["action"]).reshape(len(found["action"]), -1).any(1)
    outputs = torch.from_numpy(wanted["policy_outputs"])
    swayed = []
    for sign in (-CLOSE, CLOSE):
        nudged = outputs + sign * torch.linspace(-1, 1, outputs.shape[1])
        swayed.append(agent.model.distribution(nudged).mode().numpy())
    wavers = (swayed[0] != swayed[1]).reshape(len(others), -1).any(1)
    return int((others & ~wavers).sum())
