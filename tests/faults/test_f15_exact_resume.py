"""A run of any Procgen game that was stopped is, to the bit, the run that was not.

Every game, on 1, 2 and 3 ranks, with both MPI libraries, goes on in fresh processes; all are
compared with one process that was never stopped. The negative controls take one thing out of the
checkpoint, and the run becomes another one: so the comparison sees it, and each of them is needed.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import run_python
from runs import arrays, assert_same_bits, assert_same_progress, episodes, newest, progress
from wheels import WHEELS

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.procgen_state import unseal, with_slot
from ppo_mpi.registry import PROCGEN_GAMES
from ppo_mpi.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ppo_mpi.storage.run_folder import is_done

PROGRAM = str(Path(__file__).with_name("train_several.py"))
ITERATION, ITERATIONS = 384, 3
FIRST = ["--max-seconds", "0.001"]
"""The clock has run out when the first iteration is over."""
TO_THE_END = ["--max-seconds", "0"]

# One process trains the games of a group one after the other. The first is the sample.
SOME = ("coinrun", "heist", "starpilot")
OTHERS = tuple(game for game in PROCGEN_GAMES if game not in SOME)
GROUPS = {"some": SOME} | {f"others{k}": OTHERS[k::3] for k in range(3)}
GROUP_OF = {game: group for group, games in GROUPS.items() for game in games}
WAYS = [(wheel, ranks) for wheel in WHEELS for ranks in (1, 2, 3)]
COMPARED = [
    pytest.param(
        game,
        wheel,
        ranks,
        marks=() if (GROUP_OF[game], wheel, ranks) == ("some", "mpich", 2) else pytest.mark.faults,
    )
    for wheel, ranks in WAYS
    for games in GROUPS.values()
    for game in games
]


def words(game: str) -> list[str]:
    """Return a tiny job: 6 environments and 3 on held-out levels, the two networks by turns."""
    network = ("nature", "impala")[PROCGEN_GAMES.index(game) % 2]
    return [
        game, "--network", network, "--channel-multiplier", "0.25", "--feature-size", "32",
        "--num-envs", "6", "--num-test-envs", "3", "--rollout-timesteps", str(ITERATION),
        "--num-epochs", "2", "--num-minibatches", "3", "--precision", "float32",
        "--total-timesteps", str(ITERATION * ITERATIONS), "--display", "off",
    ]  # fmt: skip


def train(num_ranks: int, jobs: list[list[str]], folder: Path, wheel: str = "") -> None:
    """Train jobs one after the other in one process on each rank."""
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs), encoding="utf-8")
    run_python(num_ranks, [PROGRAM, str(file)], folder, wheel=wheel)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that trains a group's games without a stop: group -> their folder."""

    @functools.cache
    def trained(group: str) -> Path:
        folder = tmp_path_factory.mktemp("at_once")
        train(0, [[*words(g), "--seed", "5", "--run", g] for g in GROUPS[group]], folder)
        return folder / "checkpoints"

    return trained


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], Path]:
    """Return a function that trains a group's games for one iteration: their working folder."""

    @functools.cache
    def trained(group: str, wheel: str, ranks: int) -> Path:
        folder = tmp_path_factory.mktemp("stopped")
        jobs = [[*words(g), *FIRST, "--seed", "5", "--run", g] for g in GROUPS[group]]
        train(ranks, jobs, folder, wheel)
        for game in GROUPS[group]:
            run_dir = folder / "checkpoints" / game
            assert newest(run_dir).name == f"step-{ITERATION:012d}"
            assert not is_done(run_dir)
        return folder

    return trained


@pytest.fixture(scope="module")
def resumed(
    stopped: Callable[[str, str, int], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str, int], Path]:
    """Return a function that lets a group's stopped runs go on to their end: their folder."""

    @functools.cache
    def trained(group: str, wheel: str, ranks: int) -> Path:
        folder = tmp_path_factory.mktemp("resumed")
        shutil.copytree(stopped(group, wheel, ranks), folder, dirs_exist_ok=True)
        jobs = [[*words(g), *TO_THE_END, "--seed", "5", "--run", g] for g in GROUPS[group]]
        train(ranks, jobs, folder, wheel)
        return folder / "checkpoints"

    return trained


def environments(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the environments' states but for their place among those of their rank."""
    return {key: with_slot(unseal(s), 0) for key, s in checkpoint.environments.items()}


def counters(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what else shapes the future."""
    state = dict(checkpoint.state)
    # Not best_return: it is the best of the saved checkpoints, and a stop saves one more.
    names = ("iteration", "timesteps", "losses", "running_returns",
             "train_episodes", "test_episodes")  # fmt: skip
    return {name: state[name] for name in names} | {
        name: state["logger"][name] for name in ("windows", "num_episodes")
    }


@pytest.mark.parametrize(("game", "wheel", "ranks"), COMPARED)
def test_a_stopped_game_goes_on_to_the_same_bits(
    at_once: Callable[[str], Path],
    resumed: Callable[[str, str, int], Path],
    game: str,
    wheel: str,
    ranks: int,
):
    one = at_once(GROUP_OF[game]) / game
    two = resumed(GROUP_OF[game], wheel, ranks) / game
    assert is_done(one)
    assert is_done(two)
    assert_same_bits(two, one, ("model", "optimizer", "normalizers"))
    before, after = load_checkpoint(newest(one)), load_checkpoint(newest(two))
    assert after.state["world_size"] == ranks
    assert len(environments(after)) == 6 + 3
    assert environments(after) == environments(before)
    assert counters(after) == counters(before)
    assert episodes(two) == episodes(one)
    assert len(progress(two)) == ITERATIONS
    assert_same_progress(two, one)


@pytest.mark.parametrize(
    "group",
    [pytest.param(g, marks=() if g == "some" else pytest.mark.faults) for g in GROUPS],
)
def test_the_compared_runs_had_episodes_and_learned(at_once: Callable[[str], Path], group: str):
    runs = [at_once(group) / game for game in GROUPS[group]]
    # Some games have none within so few steps; the group has.
    assert sum(episodes(run_dir).count("\n") - 1 for run_dir in runs) >= 10
    for run_dir in runs:
        moments = [value for name, value in arrays(run_dir, "optimizer").items() if "exp" in name]
        assert moments
        assert all(np.any(value) for value in moments)


def unchanged(checkpoint: Checkpoint) -> Checkpoint:
    return checkpoint


def without_environment_states(checkpoint: Checkpoint) -> Checkpoint:
    return Checkpoint(checkpoint.path, checkpoint.tensors, {}, checkpoint.state)


def without_random_streams(checkpoint: Checkpoint) -> Checkpoint:
    """Every stream is derived from the seed and from where it is used: it is kept as the seed."""
    config = checkpoint.state["config"] | {"seed": 6}
    state = checkpoint.state | {"config": config}
    return Checkpoint(checkpoint.path, checkpoint.tensors, checkpoint.environments, state)


def without_adams_moments(checkpoint: Checkpoint) -> Checkpoint:
    tensors = checkpoint.tensors | {"optimizer": {}}
    return Checkpoint(checkpoint.path, tensors, checkpoint.environments, checkpoint.state)


CONTROLS = {
    change.__name__: change
    for change in (
        unchanged, without_environment_states, without_random_streams, without_adams_moments,
    )
}  # fmt: skip
CONTROLLED = [
    pytest.param(game, change, marks=() if group == "some" else pytest.mark.faults)
    for group, games in GROUPS.items()
    for game in games
    for change in CONTROLS
]


@pytest.fixture(scope="module")
def altered(
    stopped: Callable[[str, str, int], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Return a function that lets a group's runs go on from altered checkpoints: their folder."""

    @functools.cache
    def trained(group: str) -> Path:
        folder, jobs = tmp_path_factory.mktemp("altered"), []
        for change, alter in CONTROLS.items():
            source = stopped(group, "mpich", 2) / "checkpoints"
            shutil.copytree(source, folder / change)
            for game in GROUPS[group]:
                sign_again(folder / change / game, alter)
                # Without --seed: a run goes on with its own.
                jobs.append([*words(game), *TO_THE_END, "--run", game, "--checkpoint-dir", change])
        train(0, jobs, folder)
        return folder

    return trained


def sign_again(run_dir: Path, alter: Callable[[Checkpoint], Checkpoint]) -> None:
    """Replace a run's checkpoint by an altered one with a right manifest."""
    new = alter(load_checkpoint(newest(run_dir)))
    save_checkpoint(
        run_dir, ITERATION, new.tensors, new.environments, new.state, Communicator()
    )  # collective of one


@pytest.mark.parametrize(("game", "change"), CONTROLLED)
def test_without_a_part_of_its_checkpoint_a_game_goes_on_to_other_bits(
    at_once: Callable[[str], Path], altered: Callable[[str], Path], game: str, change: str
):
    one = at_once(GROUP_OF[game]) / game
    two = altered(GROUP_OF[game]) / change / game
    assert newest(one).name == newest(two).name
    assert progress(two)[0].keys() == progress(one)[0].keys()
    own, other = arrays(one, "model"), arrays(two, "model")
    different = [name for name in own if own[name].tobytes() != other[name].tobytes()]
    if change == "unchanged":  # so it is the change that makes the difference, not the signing
        assert not different
        assert episodes(two) == episodes(one)
    else:
        assert len(different) == len(own)
