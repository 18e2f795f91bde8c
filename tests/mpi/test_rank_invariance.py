"""The number of ranks does not change the result: whole jobs on 1, 2, 3 and 4 ranks."""

from __future__ import annotations

import csv
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import run_job
from runs import (
    ITERATION,
    JOBS,
    arrays,
    assert_near,
    assert_same_bits,
    assert_same_progress,
    episodes,
    seldom,
)
from spaces import random_actions

from ppo_mpi.agent import Agent
from ppo_mpi.build import make_model
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.registry import split_env_name
from ppo_mpi.suites import make_envs

# Three ranks have 3, 3 and 2 of the eight environments. "threads" is a process without a launcher
# that computes on three threads; "turns" two ranks whose environments take turns and whose
# gradients torch adds up. "workers" is two ranks with two worker processes each.
OTHERS = ("ranks2", "ranks3", "ranks4", "threads", "turns", "workers")
COMPARED: list[Any] = [("starpilot", other) for other in OTHERS]
# Whether four ranks or worker processes make a difference is no matter of the network.
COMPARED += [("CartPole", other) for other in ("ranks2", "ranks3", "threads", "turns")]
COMPARED += [seldom("CartPole", "ranks4"), seldom("CartPole", "workers")]
COMPARED += [seldom("split", "ranks2"), ("split", "ranks3")]
COMPARED += [("probe:box", "ranks3"), ("probe:tuple", "ranks3"), seldom("probe:tuple", "turns")]
COMPARED += [seldom("probe:picture_and_vector", "ranks2"), ("probe:picture_and_vector", "turns")]
# test_resume.py has them on 3 ranks, 1 and 2, one after the other.
COMPARED += [seldom("options", "ranks2"), seldom("options", "ranks3"), ("options", "turns")]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return a function that trains a job once for each way to start it: (job, how) -> its run."""
    folder = tmp_path_factory.mktemp("invariance")

    @functools.cache
    def train(job: str, how: str) -> Path:
        words = ["train", *JOBS[job], "--total-timesteps", str(3 * ITERATION)]
        words += ["--checkpoint-dir", job.replace(":", "_"), "--run", how]
        if how == "threads":
            run_job(0, *words, "--threads", "3", cwd=folder)
        elif how == "workers":
            run_job(2, *words, "--env-workers", "2", cwd=folder)
        elif how == "turns":
            run_job(2, *words, "--turns", "2", "--transport", "torch", cwd=folder)
            system = (folder / job.replace(":", "_") / how / "system.json").read_text()
            assert '"transport": "Gloo"' in system
        else:
            run_job(int(how.removeprefix("ranks")), *words, cwd=folder)
        return folder / job.replace(":", "_") / how

    return train


@pytest.mark.parametrize(("job", "other"), COMPARED)
def test_model_and_optimizer_have_the_same_bits_on_any_number_of_ranks_and_threads(
    run_of: Callable[[str, str], Path], job: str, other: str
):
    one = run_of(job, "ranks1")
    assert_same_bits(one, run_of(job, other), ("model", "optimizer"))
    # Sums of float64 over other groups of environments: not to the bit, but far below float32.
    assert_near(one, run_of(job, other), "normalizers", relative=1e-12)


@pytest.mark.parametrize(("job", "other"), COMPARED)
def test_episodes_and_metrics_are_the_same_on_any_number_of_ranks_and_threads(
    run_of: Callable[[str, str], Path], job: str, other: str
):
    one = run_of(job, "ranks1")
    assert episodes(one) == episodes(run_of(job, other))
    assert_same_progress(one, run_of(job, other))


@pytest.mark.parametrize("job", JOBS)
def test_the_compared_runs_had_episodes_and_learned(run_of: Callable[[str, str], Path], job: str):
    rows = list(csv.DictReader(episodes(run_of(job, "ranks1")).splitlines()))
    assert len(rows) >= 10
    assert len({row["env"] for row in rows}) >= 4
    if job == "starpilot":
        assert {row["split"] for row in rows} == {"train", "test"}
        levels = {split: {int(r["level"]) for r in rows if r["split"] == split}
                  for split in ("train", "test")}  # fmt: skip
        assert levels["train"] <= set(range(20))
        assert len(levels["test"]) > 1
    moments = [v for k, v in arrays(run_of(job, "ranks1"), "optimizer").items() if "exp_avg" in k]
    assert all(np.any(v) for v in moments)


def test_in_bfloat16_runs_stay_near_each_other(tmp_path: Path):
    """Rounding depends on the batch's size there: near, and no more is promised."""
    words = ["train", *JOBS["starpilot"], "--precision", "bfloat16"]
    words += ["--total-timesteps", str(2 * ITERATION), "--run"]
    for ranks in (1, 2):
        run_job(ranks, *words, f"ranks{ranks}", cwd=tmp_path)
    one, two = (arrays(tmp_path / "checkpoints" / f"ranks{n}", "model") for n in (1, 2))
    difference = sum(((one[name] - two[name]) ** 2).sum() for name in one)
    assert difference < 0.02**2 * sum((array**2).sum() for array in one.values())


def small_agent(env: str) -> Agent:
    """Return an agent with fresh weights and a policy with a will of its own."""
    values = {"env": env, "precision": "float32", "channel_multiplier": 0.25, "feature_size": 32}
    config = with_values(TrainConfig(), values | {"num_levels": 4})
    envs = make_envs(config, range(1), 0, "shape")
    model = make_model(config, envs, torch.device("cpu"))
    envs.close()
    with torch.no_grad():
        model.policy_head.weight.mul_(50)
    return Agent(config, Path(), 0, model, None, Path())


@pytest.mark.parametrize(
    "env", ["CartPole-v1", "probe:box", "starpilot", "probe:dict", "probe:picture_and_vector"]
)
@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("episodes", [2, 7])  # 2: on three ranks one has nothing to play
def test_an_evaluation_is_the_same_on_any_number_of_ranks(
    comm: Communicator, env: str, greedy: bool, episodes: int
):
    agent = small_agent(env)
    alone = evaluate_agent(agent, "test", episodes, 5, greedy, 3, Communicator())
    together = evaluate_agent(agent, "test", episodes, 5, greedy, 5, comm)
    assert together == alone


def play_prescribed(envs: VecEnvs, indices: range, steps: int) -> tuple[list[str], list[tuple]]:
    """Step environments with actions that depend on step and index only.

    Returns:
        for each environment the digest of all that it gave, and the episodes as (index, step,
        level, whether it was cut short).
    """
    digests = [hashlib.sha256() for _ in indices]
    ended: list[tuple] = []
    obs = envs.reset()
    for t in range(steps):
        for digest, own in zip(digests, obs, strict=True):
            digest.update(own.tobytes())
        draws = [np.random.default_rng([t, i]) for i in indices]
        own = [random_actions(envs.action_spec, random, 1)[0] for random in draws]
        result = envs.step(np.array(own, envs.action_spec.dtype))
        obs = result.obs
        for slot, (i, digest) in enumerate(zip(indices, digests, strict=True)):
            digest.update(result.rewards[slot].tobytes() + result.levels[slot].tobytes())
            if slot in result.final_obs:
                digest.update(result.final_obs[slot].tobytes())
            if result.terminated[slot] or result.truncated[slot]:
                ended.append((i, t, int(result.levels[slot]), bool(result.truncated[slot])))
    return [digest.hexdigest() for digest in digests], sorted(ended)


@pytest.mark.parametrize(
    ("env", "steps"),
    [("coinrun", 600), ("starpilot", 400), ("maze", 600), ("CartPole-v1", 500),
     ("coinrun_aisc", 600), ("maze_redgem_yellowstar", 600), ("heist_aisc_many_keys", 1050),
     ("Pendulum-v1", 450), ("probe:match", 100), ("probe:dict", 100),
     ("probe:picture_and_vector", 100), ("dmc:lqr/lqr_2_1", 300),
     ("HopperBulletEnv-v0", 80)],
)  # fmt: skip
def test_prescribed_actions_bring_the_same_for_any_sharding(
    comm: Communicator, env: str, steps: int
):
    needs = {"dmc": "dm_control", "pybullet": "pybullet"}.get(split_env_name(env)[0])
    if needs:
        pytest.importorskip(needs)
    values = {"env": env, "num_envs": 7, "num_levels": 5, "distribution_mode": "easy"}
    if env.startswith("dmc:"):
        values["env_kwargs"] = ("time_limit=2",)  # so that episodes end
    config = with_values(TrainConfig(), values)
    whole = make_envs(config, range(7), 11, "train")
    expected, all_ended = play_prescribed(whole, range(7), steps)
    whole.close()
    assert all_ended
    for num_ranks in {comm.world_size, 1, 2, 3, 4}:
        mine = Communicator()
        mine.rank, mine.world_size = comm.rank % num_ranks, num_ranks
        own = mine.shard(7)
        envs = make_envs(config, own, 11, "train")
        digests, ended = play_prescribed(envs, own, steps)
        envs.close()
        assert digests == expected[own.start : own.stop]
        assert ended == [episode for episode in all_ended if episode[0] in own]
