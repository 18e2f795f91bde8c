"""The counters and entries that a checkpoint carries, which may come from a stranger."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ppo_mpi.config import TrainConfig
from ppo_mpi.errors import CheckpointError
from ppo_mpi.registry import names_of, split_env_name
from ppo_mpi.storage.checkpoint import Checkpoint
from ppo_mpi.storage.interval import is_metric
from ppo_mpi.storage.logger import EPISODE_WINDOW
from ppo_mpi.storage.run_folder import step_timesteps
from ppo_mpi.storage.shared_run import holds_only_policy
from ppo_mpi.storage.stored_config import is_number, is_whole

_ENVIRONMENT = re.compile(r"(train|test|phase|train_memory|test_memory)/(\d{6,9})", re.ASCII)
_TAG = re.compile(r"best|milestone-\d{1,9}", re.ASCII)
_COUNT_LIMIT = 2**62


def check_state(checkpoint: Checkpoint, config: TrainConfig) -> None:
    """Check every entry of ``state.json`` that a run goes on from.

    Args:
        checkpoint: verified.
        config: from it, checked.

    Raises:
        CheckpointError: an entry is missing, of a wrong type, or does not fit the config's number
            of environments.
    """
    state, num_envs = checkpoint.state, config.environment.num_envs
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "iteration": (_is_count, "a count"),
        "timesteps": (_is_count, "a count"),
        "best_return": (lambda value: value is None or is_number(value), "a number"),
    }
    if holds_only_policy(state):
        _check_entries(checkpoint, checks)
        _check_timesteps(checkpoint)
        _check_environments(checkpoint, {})
        return
    checks["logger"] = (_is_logger, "the state of a logger")
    if games := _keys_of_games(config):
        curves = _is_logger_of(games)
        checks["logger"] = (curves, f"the state of a logger with {', '.join(sorted(games))}")
    checks |= {name: check for name, check in _later_checks().items() if name in state}
    if config.is_phasic:
        most = config.ppg.policy_iterations - 1
        checks["phase_rollouts"] = (_is_at_most(most), f"a count up to {most}")
    episodes = {"train_episodes": num_envs, "test_episodes": config.environment.num_test_envs}
    for name, number in episodes.items():
        if number:
            checks[name] = (_entries(number, _is_episode), f"{number} episodes by their index")
    numbers_by_index = (_entries(num_envs, is_number), f"{num_envs} numbers by index")
    if config.learning.normalize_rewards:
        checks["running_returns"] = numbers_by_index
    if config.auxiliary.bonus_rewards:
        checks["bonus_returns"] = numbers_by_index
    if config.rewards.reward_model != "none":
        pairs = _entries(num_envs, _is_pair)
        checks["intrinsic_returns"] = (pairs, f"{num_envs} pairs of numbers by index")
    _check_entries(checkpoint, checks)
    logged = state["logger"].get("logged_iteration", 0)
    if logged > state["iteration"]:
        last = state["iteration"]
        raise CheckpointError(
            f"the checkpoint {checkpoint.path} of iteration {last} has logged_iteration={logged}, "
            f"which is yet to come; use a checkpoint that was written by ppo_mpi"
        )
    _check_timesteps(checkpoint)
    environment = config.environment
    numbers = {"train": num_envs, "test": environment.num_test_envs}
    numbers |= {f"{split}_memory": number for split, number in numbers.items()}
    _check_environments(checkpoint, numbers | {"phase": num_envs if config.is_phasic else 0})


def _later_checks() -> dict[str, tuple[Callable[[Any], bool], str]]:
    """Return the checks of entries that older checkpoints lack."""
    return {
        "tags": (_are_tags, "a list of tags"),
        "losses": (_are_losses, "a list of losses"),
        "arithmetic": (lambda value: value in ("float32", "bfloat16"), "float32 or bfloat16"),
        "microbatch_size": (_is_count, "a count"),
        "phase_rollouts": (_is_count, "a count"),
        "expert": (_is_identity, "a SHA-256, or nothing"),
    }


def _check_entries(
    checkpoint: Checkpoint, checks: Mapping[str, tuple[Callable[[Any], bool], str]]
) -> None:
    """Refuse a state in which one of the entries is missing or is not right."""
    for name, (is_right, expected) in checks.items():
        if name not in checkpoint.state or not is_right(checkpoint.state[name]):
            raise _wrong(checkpoint, name, expected)


def _check_timesteps(checkpoint: Checkpoint) -> None:
    """Refuse a state of other timesteps than the name of its folder."""
    named = step_timesteps(checkpoint.path)
    if named is not None and named != checkpoint.state["timesteps"]:
        raise _wrong(checkpoint, "timesteps", f"{named}, as in the name of its folder")


def _check_environments(checkpoint: Checkpoint, numbers: Mapping[str, int]) -> None:
    """Refuse states of environments that the config does not have.

    Args:
        checkpoint: verified.
        numbers: kind of state -> number of environments.
    """
    for key in checkpoint.environments:
        match = _ENVIRONMENT.fullmatch(key)
        if match is None or int(match[2]) >= numbers.get(match[1], 0):
            raise CheckpointError(
                f"the checkpoint {checkpoint.path} holds the environment {key[:80]!r}, which its "
                "config does not have; use a checkpoint that was written by ppo_mpi"
            )


def _wrong(checkpoint: Checkpoint, name: str, expected: str) -> CheckpointError:
    found = repr(checkpoint.state.get(name, "nothing"))[:80]
    return CheckpointError(
        f"the checkpoint {checkpoint.path} has {name}={found} instead of {expected}; use a "
        "checkpoint that was written by ppo_mpi"
    )


def _is_identity(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([0-9a-f]{64})?", value) is not None


def _is_count(value: Any) -> bool:
    return is_whole(value) and 0 <= value < _COUNT_LIMIT


def _is_at_most(most: int) -> Callable[[Any], bool]:
    return lambda value: _is_count(value) and value <= most


def _is_float(value: Any) -> bool:
    # Returns on held-out levels are only shown: they may be what a reward was, NaN as well.
    return type(value) is float or is_whole(value)


def _is_episode(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and _is_float(value[0]) and _is_count(value[1])


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def _entries(number: int, is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if not isinstance(value, dict) or len(value) != number:
            return False
        return all(str(i) in value and is_right(value[str(i)]) for i in range(number))

    return fits


def _are_losses(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(_is_count(number) for number in entry.values())
        for entry in value
    )


def _are_tags(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(tag, str) and _TAG.fullmatch(tag) for tag in value
    )


def _is_logger(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    windows, numbers = value.get("windows"), value.get("num_episodes")
    if not isinstance(windows, dict) or not isinstance(numbers, dict):
        return False
    seconds = value.get("wall_seconds", -1)
    return (
        _is_interval(value.get("interval", {}))
        and _is_count(value.get("logged_iteration", 0))
        and is_number(seconds)
        and 0 <= seconds < _COUNT_LIMIT
        and all(_is_window(windows.get(split)) for split in ("train", "test"))
        and all(_is_count(numbers.get(split)) for split in ("train", "test"))
    )


def _is_interval(value: Any) -> bool:
    """Return whether these are metrics since the last row: name -> sum and number."""
    if not isinstance(value, dict):
        return False
    return all(is_metric(name) and _is_episode(sums) for name, sums in value.items())


def _keys_of_games(config: TrainConfig) -> set[str]:
    """Return split/game of a run in several games, as ``GameCurves`` has them."""
    environment = config.environment
    splits = {"train": names_of(environment.env)}
    if environment.num_test_envs:
        splits["test"] = names_of(environment.test_env or environment.env)
    return {
        f"{split}/{split_env_name(name)[1]}"
        for split, own in splits.items()
        if len(own) > 1
        for name in own
    }


def _is_logger_of(games: set[str]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        own = value.get("games") if _is_logger(value) else None
        return isinstance(own, dict) and own.keys() == games and all(map(_is_game, own.values()))

    return fits


def _is_game(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not _is_count(value[1]):
        return False
    returns = value[0]
    return (
        isinstance(returns, list)
        and len(returns) <= EPISODE_WINDOW
        and all(map(_is_float, returns))
    )


def _is_window(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) <= EPISODE_WINDOW
    return is_list and all(_is_episode(entry) for entry in value)
