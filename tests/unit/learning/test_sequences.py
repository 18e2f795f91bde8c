"""Sequences: what a rollout's learning computes again is what acting computed, step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ppo_mpi.algorithms.ppo import PPO
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.heart import Heart
from ppo_mpi.envs.base import Discrete, ObservationSpec, StepResult
from ppo_mpi.envs.parts import EnvParts
from ppo_mpi.envs.probe import ProbeEnvs, make_envs
from ppo_mpi.learning.actor import Actor
from ppo_mpi.learning.collector import Collector
from ppo_mpi.learning.learner import Learner
from ppo_mpi.learning.reproducible import Workers
from ppo_mpi.learning.rollout import Batch, Rollout, microbatches, pieces_of
from ppo_mpi.learning.scheduled import Scheduled
from ppo_mpi.learning.sequences import RolloutMemory, lined_up, sequence_samples, split_sequences
from ppo_mpi.learning.turns import TurnActor
from ppo_mpi.learning.update import update
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.recurrent import Sequences
from ppo_mpi.settings.learning import LearningConfig
from ppo_mpi.settings.network import NetworkConfig

STEPS = 13


class ManyEnds(ProbeEnvs):
    """Environments whose episodes end now and then, also in a rollout's first and last step."""

    def __init__(self, indices: tuple[int, ...], num_rollouts: int = 3) -> None:
        super().__init__("match", indices, 7, "train", max_steps=10**6)
        random = np.random.default_rng(5)
        # Whole-job environments: the same whichever of them are here.
        kinds = random.choice(4, (num_rollouts * STEPS, 6), p=[0.7, 0.12, 0.12, 0.06])
        kinds[STEPS - 1, :4] = 1, 2, 3, 1  # terminated, truncated, a lost life, ...
        kinds[STEPS, :2] = 1, 2
        kinds[2 * STEPS - 1, :] = 2
        self.kinds, self.time = kinds[:, list(indices)], 0
        self.ended: list[np.ndarray] = []

    def step(self, actions: np.ndarray) -> StepResult:
        kinds = self.kinds[self.time]
        self.time += 1
        result = super().step(actions)
        final_obs = {}
        for slot, kind in enumerate(kinds):
            if kind in (1, 2):
                if kind == 2:
                    final_obs[slot] = self._task.show(self._slots[slot].goal)
                self._begin_episode(self._slots[slot])
            self._slots[slot].steps = 0  # the probe itself never cuts
        self.ended.append((kinds == 1) | (kinds == 2))
        return StepResult(
            self.observe(), result.rewards, kinds == 1, kinds == 2, final_obs, self.levels,
            life_lost=kinds == 3,
        )  # fmt: skip


def model_of(kind: str = "gru", shared: bool = True, seed: int = 1) -> ActorCritic:
    torch.manual_seed(seed)
    config = NetworkConfig(
        network="mlp", hidden_sizes=(10,), recurrent=kind, recurrent_size=8,  # type: ignore[arg-type]
        shared_torso=shared, policy_gain=1.0,
    )  # fmt: skip
    model = ActorCritic(ObservationSpec((3,), "float32"), Discrete(3), config, torch.float32)
    for parameter in model.parameters():  # a memory that counts
        parameter.data.mul_(1.5)
    return model


def collector_of(
    model: ActorCritic,
    sequence_steps: int,
    indices: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    workers: Workers | None = None,
    turns: int = 1,
) -> Collector:
    arguments = (model, 7, "train", Heart(), None, workers)
    if turns > 1:
        cuts = [len(indices) * i // turns for i in range(turns + 1)]
        parts = [ManyEnds(indices[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
        actor: Actor = TurnActor(EnvParts(parts), *arguments, record=False)  # type: ignore[arg-type]
    else:
        actor = Actor(ManyEnds(indices), *arguments)  # type: ignore[arg-type]
    return Collector(actor, STEPS, sequence_steps=sequence_steps)


@torch.no_grad()
def slow_values(model: ActorCritic, rollouts: list[Rollout], ended: np.ndarray) -> list[Tensor]:
    """Return V [T, B] of rollouts that follow each other: one environment, one step at a time."""
    memory = torch.zeros(rollouts[0].obs.shape[1], model.memory_size)
    found, time = [], 0
    for rollout in rollouts:
        values = torch.zeros(rollout.values.shape)
        for t, obs in enumerate(rollout.obs):
            for slot in range(obs.shape[0]):
                own = Sequences.of_one_step(memory[slot : slot + 1])
                _, value, after = model.recall(obs[slot : slot + 1], own)
                values[t, slot] = value
                memory[slot] = 0.0 if ended[time, slot] else after[0]
            time += 1
        found.append(values)
    return found


def kept(rollout: Rollout) -> Rollout:
    """Return a rollout that the next one does not overwrite."""
    assert rollout.memory is not None
    memory = replace(rollout.memory, states=rollout.memory.states.clone())
    names = ("obs", "actions", "log_probs", "values", "next_values")
    tensors = {name: getattr(rollout, name).clone() for name in names}
    arrays = {name: getattr(rollout, name).copy() for name in ("terminated", "truncated")}
    return replace(rollout, memory=memory, **tensors, **arrays)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("sequence_steps", [0, 4, 5, 1])
@pytest.mark.parametrize("how", ["together", "turns", "exact"])
def test_learning_computes_the_values_and_probabilities_of_the_rollout_again(
    kind, shared, sequence_steps, how
):
    model = model_of(kind, shared)
    workers = Workers(2) if how == "exact" else None
    collector = collector_of(
        model, sequence_steps, workers=workers, turns=2 if how == "turns" else 1
    )
    rollouts = [kept(collector.collect(i, True)) for i in range(3)]
    envs = collector.actor.envs
    parts = envs.parts if isinstance(envs, EnvParts) else [envs]
    ended = np.concatenate([np.stack(part.ended) for part in parts], axis=1)
    assert ended[STEPS - 1, :2].all()
    assert ended[STEPS, :2].all()
    slow = slow_values(model, rollouts, ended)
    num_compared = 0
    for iteration, rollout in enumerate(rollouts):
        torch.testing.assert_close(rollout.values, slow[iteration], atol=1e-5, rtol=1e-5)
        batch = Batch(rollout, rollout.values, rollout.values)
        dealt = sequence_samples(
            range(6), STEPS, sequence_steps or STEPS, 3, seed=2, iteration=iteration, epoch=1
        )
        for samples in dealt:
            for minibatch in microbatches(batch, samples, 7):
                with torch.no_grad():
                    distribution, values = model(minibatch.obs, minibatch.sequences)
                log_probs = distribution.log_prob(minibatch.actions)
                torch.testing.assert_close(log_probs, minibatch.old_log_probs, atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(values, minibatch.old_values, atol=1e-5, rtol=1e-5)
                num_compared += len(minibatch)
    assert num_compared == 3 * 6 * STEPS


@pytest.mark.parametrize("turns", [1, 2])
def test_a_truncated_episode_is_bootstrapped_with_the_memory_that_went_on(turns):
    model = model_of()
    collector = collector_of(model, 4, turns=turns)
    finals: list[tuple[int, int, np.ndarray]] = []
    parts = collector.actor.envs.parts if turns > 1 else [collector.actor.envs]  # type: ignore[attr-defined]
    first = 0
    for part in parts:
        step = part.step

        def noted(actions: np.ndarray, step=step, part=part, first=first) -> StepResult:
            result = step(actions)
            finals.extend((part.time - 1, first + s, o) for s, o in result.final_obs.items())
            return result

        part.step = noted
        first += len(part.indices)
    rollout = kept(collector.collect(0, True))
    ended = np.concatenate([np.stack(part.ended) for part in parts], axis=1)
    memory = torch.zeros(6, 8)
    after = torch.zeros(STEPS, 6, 8)
    with torch.no_grad():
        for t in range(STEPS):
            _, _, after[t] = model.recall(rollout.obs[t], Sequences.of_one_step(memory))
            memory = after[t] * torch.from_numpy(~ended[t])[:, None]
        assert len(finals) >= 4
        for t, slot, obs in finals:
            own = Sequences.of_one_step(after[t, slot][None])
            _, value, _ = model.recall(torch.from_numpy(obs)[None], own)
            assert rollout.next_values[t, slot].item() == pytest.approx(value.item(), abs=1e-5)
        own = Sequences.of_one_step(memory)  # behind the last step, nothing else has changed it
        _, values, _ = model.recall(collector.actor.obs, own)
    goes_on = ~(rollout.terminated | rollout.truncated)[-1]
    torch.testing.assert_close(rollout.next_values[-1][goes_on], values[goes_on])
    torch.testing.assert_close(collector.actor.memory, memory)


def test_fresh_episodes_begin_with_nothing_remembered():
    collector = collector_of(model_of(), 0)
    collector.collect(0, True)
    assert collector.actor.memory.any()
    rollout = collector.collect(1, False)
    assert rollout.memory is not None
    assert not rollout.memory.states[0].any()


@pytest.mark.parametrize(("steps", "length"), [(13, 13), (13, 4), (12, 4), (13, 1), (5, 3)])
@pytest.mark.parametrize("num_minibatches", [1, 2, 3, 5])
def test_the_jobs_minibatches_are_the_same_however_environments_are_dealt(
    steps, length, num_minibatches
):
    def dealt(indices: list[int]) -> list[set[tuple[int, int]]]:
        parts = sequence_samples(indices, steps, length, num_minibatches, 3, 2, 1)
        return [{(s // len(indices), indices[s % len(indices)]) for s in p.tolist()} for p in parts]

    whole = dealt(list(range(7)))
    assert sum(len(part) for part in whole) == 7 * steps
    assert set().union(*whole) == {(t, i) for t in range(steps) for i in range(7)}
    for shards in ([[0, 1, 2, 3], [4, 5, 6]], [[0, 1, 2], [3, 4], [5, 6]]):
        each = [dealt(own) for own in shards]
        assert [set().union(*parts) for parts in zip(*each, strict=True)] == whole
    # Whole sequences, and as many in each minibatch but for one.
    numbers = []
    for part in whole:
        sequences = {(t // length, i) for t, i in part}
        assert part == {
            (t, i) for t in range(steps) for i in range(7) if (t // length, i) in sequences
        }
        numbers.append(len(sequences))
    assert max(numbers) - min(numbers) <= 1


def test_minibatches_differ_from_epoch_to_epoch():
    sets = [
        frozenset(sequence_samples(range(16), 8, 8, 4, 3, iteration, epoch)[0].tolist())
        for iteration, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len(set(sets)) == 3


def test_pieces_are_whole_sequences_and_at_least_one():
    (samples,) = sequence_samples(range(3), 10, 4, 1, 0, 0, 0)
    pieces = split_sequences(samples, 3, 4, 8)
    assert [len(piece) for piece in pieces] == [8, 6, 6, 8, 2]
    assert torch.equal(torch.cat(pieces), samples)
    assert all((piece[0] // 3) % 4 == 0 for piece in pieces)
    assert [len(piece) for piece in split_sequences(samples, 3, 4, 2)] == [4, 4, 2] * 3
    assert len(split_sequences(samples, 3, 4, 0)) == 1
    assert split_sequences(samples[:0], 3, 4, 8) == []


def test_lined_up_by_hand():
    # Two environments, five steps in sequences of three; an episode of the second begins at step 1.
    starts = np.zeros((5, 2), bool)
    starts[1, 1] = True
    states = torch.arange(1.0, 5.0).view(2, 2, 1)
    memory = RolloutMemory(states, starts, 3)
    samples = torch.tensor([0, 2, 4, 6, 8, 1, 3, 5])  # both of the first, one of the second
    ordered, sequences = lined_up(memory, samples)
    # Segments: 0 2 4 | 6 8 | 1 | 3 5, and longest first 0 2 4 | 6 8 | 3 5 | 1.
    assert ordered.tolist() == [0, 6, 3, 1, 2, 8, 5, 4]
    assert sequences.sizes.tolist() == [4, 3, 1]
    assert sequences.memory[:, 0].tolist() == [1.0, 3.0, 0.0, 2.0]


CONFIG = LearningConfig(num_epochs=2, num_minibatches=3, normalize_advantages="minibatch")
NOW = Scheduled(learning_rate=0.01, clip_range=0.2, entropy_coef=0.02)


def parameters_after(
    microbatch_size: int, workers: Workers | None = None, indices: tuple[int, ...] = (0, 1, 2, 3)
) -> Tensor:
    """Return a model's parameters after an update with what it collected."""
    model = model_of(seed=3)
    rollout = collector_of(model, 4, indices).collect(0, True)
    random = torch.Generator().manual_seed(0)
    advantages = torch.randn(rollout.values.shape, generator=random)
    batch = Batch(rollout, advantages, advantages + rollout.values)
    learner = Learner(model, PPO, replace(CONFIG, microbatch_size=microbatch_size), 9, workers)
    metrics = update(learner, batch, indices, 4, NOW, Communicator())
    assert np.isfinite(list(metrics.values())).all()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_microbatches_and_threads_do_not_change_the_gradient():
    whole = parameters_after(0)
    assert (whole != torch.cat([p.detach().flatten() for p in model_of(seed=3).parameters()])).any()
    for size in (1, 9):
        torch.testing.assert_close(parameters_after(size), whole, atol=2e-4, rtol=1e-3)
    exact = parameters_after(0, Workers(1))
    torch.testing.assert_close(exact, whole, atol=2e-4, rtol=1e-3)
    assert torch.equal(parameters_after(0, Workers(3)), exact)


def test_what_stays_on_a_device_is_learned_from_alike_in_every_iteration():
    """There the batch of an iteration is copied into that of the one before."""
    found = []
    for on_device in (False, True):
        model = model_of(seed=3)
        collector = collector_of(model, 4)
        learner = Learner(model, PPO, CONFIG, 9, on_device=on_device)
        for iteration in range(3):
            rollout = collector.collect(iteration, True)
            random = torch.Generator().manual_seed(iteration)
            advantages = torch.randn(rollout.values.shape, generator=random)
            batch = Batch(rollout, advantages, advantages + rollout.values)
            update(learner, batch, tuple(range(6)), iteration, NOW, Communicator())
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-2)


def test_pieces_of_a_rollout_without_memory_are_samples():
    rollout = collector_of(model_of(), 4).collect(0, True)
    samples = torch.arange(10)
    plain = replace(rollout, memory=None)
    assert [len(piece) for piece in pieces_of(plain, samples, 4)] == [4, 4, 2]


def test_a_rollout_of_a_probe_is_remembered_from_cue_to_question():
    envs = make_envs("memory", (0, 1), 3, options={})
    torch.manual_seed(0)
    config = NetworkConfig(network="mlp", recurrent="lstm", hidden_sizes=(8,))
    model = ActorCritic(envs.obs_spec, envs.action_spec, config, torch.float32)
    collector = Collector(Actor(envs, model, 1, "train", Heart(), None), 40)
    rollout = collector.collect(0, True)
    assert rollout.memory is not None
    cue = rollout.obs[:, :, :3].any(2).numpy()
    np.testing.assert_array_equal(rollout.memory.starts[1:], cue[1:])
    assert rollout.memory.starts.sum() >= 8
