"""Groups of environments in turn: the same rollout as all of them together."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from ppo_mpi.distributed.heart import Heart
from ppo_mpi.distributed.signals import STOP
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.parts import EnvParts
from ppo_mpi.envs.probe import make_envs
from ppo_mpi.errors import IterationAbandonedError, NonFiniteError
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.collector import Collector
from ppo_mpi.learning.normalizers import ObservationNormalizer
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.turns import TurnActor
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

STEPS = 25
INDICES = tuple(range(11))


def probe(task: str, indices: tuple[int, ...] = INDICES) -> VecEnvs:
    return make_envs(task, indices, 7, stream="train", options={})


def in_parts(task: str, num: int) -> EnvParts:
    return EnvParts([probe(task, tuple(part)) for part in np.array_split(INDICES, num)])


def model_for(envs: VecEnvs) -> ActorCritic:
    torch.manual_seed(1)
    config = NetworkConfig(network="mlp", hidden_sizes=(8,))
    return ActorCritic(envs.obs_spec, envs.action_spec, config, torch.float32)


def collector_of(envs: VecEnvs, normalize: bool, record: bool = True) -> Collector:
    normalizer = ObservationNormalizer(envs.obs_spec.shape, 10.0) if normalize else None
    if normalizer is not None:
        normalizer.moments.merge(10, np.full(envs.obs_spec.shape, 0.3), np.full((), 4.0))
    arguments = (model_for(envs), 7, "train", Heart(), normalizer, Workers(1))
    if isinstance(envs, EnvParts):
        return Collector(TurnActor(envs, *arguments, record=record), STEPS)
    return Collector(Actor(envs, *arguments), STEPS)


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize(
    "task", ["match", "terminal", "box", "image", "multi_discrete", "tuple", "picture_and_vector"]
)
def test_turns_change_nothing_of_a_rollout(task: str, turns: int, record: bool):
    normalizes = task not in ("image", "picture_and_vector")
    together = collector_of(probe(task), normalizes)
    in_turn = collector_of(in_parts(task, turns), normalizes, record)
    for iteration in range(2):
        expected, rollout = (c.collect(iteration, True) for c in (together, in_turn))
        for name, tensor in vars(expected).items():
            np.testing.assert_array_equal(
                np.asarray(getattr(rollout, name)), np.asarray(tensor), err_msg=name
            )
        episodes = sorted(in_turn.actor.episodes, key=lambda record: record.env)
        assert episodes == sorted(together.actor.episodes, key=lambda record: record.env)
        assert episodes, "some episodes end"
    if together.actor.normalizer is not None:
        seen = [np.concatenate(c.actor.normalizer._seen) for c in (in_turn, together)]
        np.testing.assert_array_equal(*(np.sort(rows, axis=0) for rows in seen))


def test_one_group_is_stepped_while_the_network_acts_for_the_other():
    envs = in_parts("match", 2)
    collector = collector_of(envs, False, record=False)
    actor, main = collector.actor, threading.get_ident()
    stepping, met = threading.Event(), []
    step, act = envs.parts[0].step, actor.act

    def slow_step(actions: np.ndarray):
        assert threading.get_ident() != main
        stepping.set()
        # Goes on only once the network is asked for the other group's actions.
        met.append(asked.wait(10))
        return step(actions)

    asked = threading.Event()

    def watched(obs: torch.Tensor, noise: torch.Tensor, memory: torch.Tensor):
        if stepping.is_set():
            asked.set()
        elif actor._groups[0].pending is not None:
            stepping.wait(10)
            asked.set()
        return act(obs, noise, memory)

    envs.parts[0].step, actor.act = slow_step, watched  # type: ignore[method-assign]
    collector.collect(0, True)
    assert met == [True] * STEPS


def test_a_late_stop_leaves_no_thread_in_the_environments(monkeypatch):
    envs = in_parts("match", 2)
    collector = collector_of(envs, False)
    calls = [0]

    def check() -> None:
        calls[0] += 1
        if calls[0] == 6:
            raise IterationAbandonedError("now")

    monkeypatch.setattr(STOP, "check_grace", check)
    with pytest.raises(IterationAbandonedError):
        collector.collect(0, True)
    assert all(group.pending is None for group in collector.actor._groups)  # type: ignore[attr-defined]
    monkeypatch.undo()
    collector.collect(0, False)  # goes on from fresh episodes


def test_an_environment_that_raises_in_its_thread_is_heard_of():
    envs = in_parts("match", 2)
    collector = collector_of(envs, False)

    def fail(actions: np.ndarray):
        raise RuntimeError("out of order")

    envs.parts[1].step = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="out of order"):
        collector.collect(0, True)


def test_what_is_not_finite_is_named_by_its_environment():
    envs = in_parts("match", 2)
    collector = collector_of(envs, False)
    step = envs.parts[1].step

    def broken(actions: np.ndarray):
        result = step(actions)
        result.obs[2] = np.nan
        return result

    envs.parts[1].step = broken  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="an observation of environment 8 is nan in step 1 of"):
        collector.collect(0, True)
