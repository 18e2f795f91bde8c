"""The mode export, format run: a run's policy, curves, evaluations and report, to be shared.

No optimizer, no environments, nothing of the machine: a folder that play, record, evaluate, plot,
report and --borrow-from take, and in which no training goes on. Axes: N observations.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppo_mpi.agent import Agent, agent_from_checkpoint, read_run
from ppo_mpi.config import PLACES, TrainConfig, flatten, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.opening import config_text
from ppo_mpi.modes.report import find_videos, gather
from ppo_mpi.networks.distributions import draw_noise
from ppo_mpi.reports.evaluations import (
    MAX_BYTES,
    as_number,
    find_evaluations,
    read_evaluation,
)
from ppo_mpi.reports.page import write_page
from ppo_mpi.reports.provenance import split_command
from ppo_mpi.reports.run_files import RunFiles, read_run_files
from ppo_mpi.settings.export import ExportConfig
from ppo_mpi.storage.checkpoint import Checkpoint, load_newest, save_checkpoint
from ppo_mpi.storage.durable import HALF_WRITTEN, write_atomically
from ppo_mpi.storage.run_folder import CONFIG, DONE, PROGRESS, REPORT, SYSTEM, done_timesteps
from ppo_mpi.storage.shared_run import policy_part, policy_state
from ppo_mpi.storage.stored_config import stored_config
from ppo_mpi.storage.strict_json import parse_json
from ppo_mpi.storage.thinning import csv_text, thinned
from ppo_mpi.storage.untrusted_files import read_regular_file
from ppo_mpi.storage.video import free_path

MOST_ROWS = 500
"""Rows of progress.csv in an exported run; longer curves are written as log_every would have."""
OF_MACHINE = (
    "started", "ranks", "mpi_library", "transport", "processor", "cores", "cores_available",
    "python", "packages", "commit",
)  # fmt: skip
"""What an exported run tells of where it was trained: no host, no folder, no kernel."""
PLACES_COMPARED, STEPS_COMPARED = 4, 16


def export_run(config: ExportConfig) -> int:
    """Write a run that can be shared, and compare its agent with the run's.

    Returns:
        the exit status: 1 if the folder does not do what the agent does.

    Raises:
        ConfigError: the folder exists or cannot be written.
        CheckpointError: there is no such run, or no whole checkpoint.
    """
    checkpoint, warnings = read_run(config.run, config.checkpoint_dir)
    named = {"env": config.env, "env_kwargs": config.env_kwargs}
    agent = agent_from_checkpoint(checkpoint, torch.device("cpu"), "float32", named)
    run = read_run_files(agent.run_dir)
    path = output_folder(agent, config)
    notes = write_run(path, run, checkpoint, Path(config.asset_dir).expanduser())
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print("\n".join([*warnings, *notes, f"wrote {path}: a run to share, {size / 2**20:.1f} MiB"]))
    if not config.verify:
        return 0
    shared, _ = load_newest(path)
    again = agent_from_checkpoint(shared, torch.device("cpu"), "float32", named)
    num, differing = compare(agent, again)
    print(f"verified on {num} observations: {differing} of them bring other actions or values")
    return 1 if differing else 0


def output_folder(agent: Agent, config: ExportConfig) -> Path:
    """Return where the run goes, a folder that does not exist.

    Raises:
        ConfigError: it exists.
    """
    name = f"{agent.run_name}-{agent.timesteps}"
    if not config.output:
        return free_path(agent.assets_in(config.asset_dir) / name)
    path = Path(config.output).expanduser()
    if path.exists():
        raise ConfigError(f"output={config.output} exists; remove it, or choose another folder")
    return path


def write_run(path: Path, run: RunFiles, checkpoint: Checkpoint, asset_dir: Path) -> list[str]:
    """Write the folder; it exists under its name only once it is whole.

    Args:
        path: of the folder, new.
        run: the files of the run.
        checkpoint: of it, verified and compared with its config.
        asset_dir: where its videos are.

    Returns:
        what to tell the user.

    Raises:
        ConfigError: it cannot be written.
    """
    # Under its own name in another folder: the report says what the run is called.
    folder = path.with_name(f"{HALF_WRITTEN}{path.name}-{os.getpid()}") / path.name
    try:
        folder.mkdir(parents=True)
        notes = _fill(folder, run, checkpoint)
        content = gather([read_run_files(folder)], (), None)
        content.videos.extend(find_videos([run], asset_dir)[0])
        write_page(folder / REPORT, content)
        os.rename(folder, path)
    except OSError as error:
        raise ConfigError(
            f"cannot write the run to {path} ({error.strerror}); choose another --output"
        ) from error
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    return notes


def _fill(folder: Path, run: RunFiles, checkpoint: Checkpoint) -> list[str]:
    """Write all files but the report; return what to tell the user."""
    config = without_owner(stored_config(checkpoint))
    state = policy_state(checkpoint.state, flatten(config))
    saved = save_checkpoint(
        folder, state["timesteps"], policy_part(checkpoint.tensors), {}, state, Communicator()
    )  # collective, of this process alone
    write_atomically(folder / CONFIG, config_text(config).encode())
    write_atomically(folder / PROGRESS, csv_text(thinned(run.columns, MOST_ROWS)).encode())
    sessions = {"sessions": [without_places(session) for session in run.sessions]}
    write_atomically(folder / SYSTEM, json.dumps(sessions, indent=2).encode() + b"\n")
    done = done_timesteps(run.folder)
    if done is not None:
        write_atomically(folder / DONE, f"{done}\n".encode())
    notes = []
    for path in find_evaluations([run.folder], ()):
        try:
            read_evaluation(path)
        except ConfigError as error:
            notes.append(f"{path} is left out: {error}")
            continue
        document = parse_json(read_regular_file(path, MAX_BYTES))
        content = _of_checkpoint(document, state["timesteps"], saved.name, folder.name)
        if content is None:
            notes.append(f"{path} is left out: it is not of {state['timesteps']:,} timesteps")
            continue
        write_atomically(folder / path.name, json.dumps(content).encode() + b"\n")
    return notes


def without_owner(config: TrainConfig) -> TrainConfig:
    """Return the settings without folders of the machine, accounts and looks of who trained."""
    defaults, own = flatten(TrainConfig()), flatten(config)
    theirs = (*PLACES, "display", "track_project", "track_entity")
    changed = {name: defaults[name] for name in theirs}
    for name in ("expert_data", "borrow_from"):
        if Path(own[name]).is_absolute():
            changed[name] = Path(own[name]).name
    return with_values(config, changed)


def _of_checkpoint(
    document: Any, timesteps: int, checkpoint: str, run: str
) -> dict[str, Any] | None:
    """Return an evaluation with its run's name and its checkpoint's; None if it is of another."""
    if not isinstance(document, dict):
        return None
    if isinstance(games := document.get("games"), dict):
        own = {k: _of_checkpoint(game, timesteps, checkpoint, run) for k, game in games.items()}
        return None if None in own.values() else document | {"games": own}
    if as_number(document.get("timesteps")) != timesteps:
        return None
    return document | {"run": run, "checkpoint": checkpoint}


def without_places(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a start of a run, as ``system_info`` describes it, what names no host or folder."""
    own = {name: session[name] for name in OF_MACHINE if name in session}
    hosts = session.get("hosts")
    if isinstance(hosts, dict):
        own["hosts"] = {f"node {k}:": ranks for k, ranks in enumerate(hosts.values(), start=1)}
    if isinstance(platform := session.get("platform"), str):
        own["platform"] = platform.partition("-")[0]
    return own | {"command": plain_command(str(session.get("command", "")))}


def plain_command(command: str) -> str:
    """Return a command as one types it in a checkout, without folders of the machine."""
    words = split_command(command)[1:]  # the interpreter
    if not words:
        return ""
    is_module = Path(words[0]).name in ("__main__.py", "ppo_mpi")
    kept = ["python", *(["-m", "ppo_mpi"] if is_module else [Path(words[0]).name])]
    options = ("--checkpoint-dir", "--asset-dir", "--display")  # nothing of them shapes a run
    skip = False
    for word in words[1:]:
        name = word.replace("_", "-").partition("=")[0]
        if skip or name in options:
            skip = not skip and "=" not in word
            continue
        option, equals, value = word.rpartition("=")
        kept.append(option + equals + (Path(value).name if value.startswith(("/", "~")) else value))
    return shlex.join(kept)


def compare(agent: Agent, other: Agent) -> tuple[int, int]:
    """Let two agents see what the first one lives through.

    Returns:
        the number of observations, and how many bring other bits of actions or values.
    """
    envs = agent.make_envs(PLACES_COMPARED, 0, stream="export")
    try:
        obs, memory, differing = envs.reset(), agent.no_memory(PLACES_COMPARED), 0
        for step in range(STEPS_COMPARED):
            random = np.random.default_rng(step)
            noise = draw_noise(random, PLACES_COMPARED, agent.model.action_spec)
            one, two = (own.act(obs, noise, memory) for own in (agent, other))
            equal = np.ones(PLACES_COMPARED, bool)
            for name in ("actions", "values", "memory"):
                pair = [getattr(acted, name).reshape(PLACES_COMPARED, -1) for acted in (one, two)]
                equal &= (pair[0] == pair[1]).all(1)
            differing += int((~equal).sum())
            result = envs.step(one.actions)
            obs, memory = result.obs, one.memory
            memory[result.terminated | result.truncated] = 0.0
        return PLACES_COMPARED * STEPS_COMPARED, differing
    finally:
        envs.close()
