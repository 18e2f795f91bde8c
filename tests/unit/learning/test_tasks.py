"""Losses of auxiliary heads against slow versions; truths that are not known count nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.learning.bonus import BonusReturns
from ppo_mpi.learning.tasks import Tasks
from ppo_mpi.learning.truths import Truths
from ppo_mpi.settings.heads import parse_heads

COMM = Communicator()
HEADS = parse_heads(["place:regression:2", "room:classes:3"])
NAN = math.nan
STEPS, ENVS = 3, 2


def truths_of(rows: list[list[float]]) -> Truths:
    values = torch.tensor(rows).view(STEPS, ENVS, 3)
    return Truths(values, torch.zeros(STEPS, ENVS, 2))


ROWS = [
    [1.0, 2.0, 0.0], [NAN, NAN, 2.0], [0.5, -1.0, NAN],
    [3.0, 0.0, 1.0], [NAN, 1.0, 1.0], [2.0, 2.0, NAN],
]  # fmt: skip


def answers(seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(STEPS * ENVS, n, generator=random).requires_grad_() for n in (2, 3)]


def test_losses_are_the_means_over_the_truths_that_are_known():
    tasks = Tasks(HEADS, (0.5, 2.0), "x")
    truths = truths_of(ROWS)
    tasks.begin(truths, 0, COMM)
    given = answers()
    # In two minibatches of different sizes, as an epoch has them.
    total, sums = torch.zeros(()), torch.zeros(4)
    for samples in (torch.tensor([0, 3, 4]), torch.tensor([1, 2, 5])):
        own, their = tasks.losses([x[samples] for x in given], truths.of(samples))
        total, sums = total + own, sums + their
    regression, cross_entropy, hits = [], [], []
    for row, place, logits in zip(ROWS, given[0].tolist(), given[1].tolist(), strict=True):
        if not any(map(math.isnan, row[:2])):
            regression.append(sum((p - t) ** 2 for p, t in zip(place, row, strict=False)) / 2)
        if not math.isnan(row[2]):
            exponents = [math.exp(x) for x in logits]
            cross_entropy.append(-math.log(exponents[int(row[2])] / sum(exponents)))
            hits.append(logits.index(max(logits)) == row[2])
    expected = [np.mean(regression), np.mean(cross_entropy), np.mean(hits)]
    assert (sums[1:] / 6).tolist() == pytest.approx(expected, rel=1e-5)
    assert total.item() / 6 == pytest.approx(0.5 * expected[0] + 2.0 * expected[1], rel=1e-5)
    assert float(sums[0]) == pytest.approx(total.item())
    total.backward()
    grads = given[0].grad, given[1].grad
    assert grads[0] is not None
    assert grads[1] is not None
    assert grads[0].isfinite().all()
    assert not grads[0][[1, 4]].any()
    assert not grads[1][[2, 5]].any()


def test_what_is_told_of_an_epoch():
    tasks = Tasks(HEADS, (1.0, 1.0), "x")
    tasks.begin(truths_of(ROWS), 0, COMM)
    assert tasks.statistics == (
        "auxiliary_loss", "auxiliary/place_loss", "auxiliary/room_loss", "auxiliary/room_accuracy",
    )  # fmt: skip
    means = {"auxiliary/place_loss": 0.25, "auxiliary/room_loss": 1.0, "auxiliary/room_accuracy": 1}
    told = tasks.metrics(means)
    known = np.array([ROWS[i][:2] for i in (0, 2, 3, 5)])
    assert told["auxiliary/place_explained_variance"] == pytest.approx(
        1 - 0.5 / known.var(0).sum(), rel=1e-6
    )
    assert told["auxiliary/place_known"] == told["auxiliary/room_known"] == pytest.approx(4 / 6)


def test_a_rollout_without_any_truth_is_refused_at_first_and_nothing_is_told_of_it_later():
    nothing = [[NAN] * 3] * (STEPS * ENVS)
    tasks = Tasks(HEADS, (1.0, 1.0), "mine:Env")
    with pytest.raises(ConfigError, match="env=mine:Env told no truth of place, room"):
        tasks.begin(truths_of(nothing), 0, COMM)
    tasks.begin(truths_of(nothing), 1, COMM)
    truths = truths_of(nothing)
    total, sums = tasks.losses(answers(), truths.of(torch.arange(6)))
    assert float(total) == 0
    told = tasks.metrics(dict(zip(tasks.statistics, sums.tolist(), strict=True)))
    assert told["auxiliary/room_known"] == 0
    assert math.isnan(told["auxiliary/room_accuracy"])
    assert math.isnan(told["auxiliary/place_explained_variance"])


def test_bonus_rewards_are_summed_by_episode_over_rollouts():
    returns = BonusReturns((4, 7))
    bonus = np.array([[1, 10], [2, 20], [4, 40]], np.float32)
    ended = np.array([[False, False], [True, False], [False, False]])
    assert returns.mean_of(bonus, ended, [], False, COMM) == 3
    later = np.array([[True, True], [False, False], [False, False]])
    # 4 + 1 and 10 + 20 + 40 + 10; the second one does not count.
    saved = returns.entries()
    assert saved == {"4": 4.0, "7": 70.0}
    assert returns.mean_of(bonus, later, [], True, COMM) == (5 + 80) / 2
    again = BonusReturns((7,))
    again.load_entries(saved, [])
    assert again.mean_of(bonus[:, 1:], later[:, 1:], [], True, COMM) == 80
    again.load_entries(saved, [])
    assert math.isnan(again.mean_of(bonus[:, 1:], later[:, 1:], [(0, 0)], True, COMM))
    again.load_entries(saved, [0])
    assert again.mean_of(bonus[:, 1:], later[:, 1:], [], True, COMM) == 10
    assert again.mean_of(bonus[:, 1:], later[:, 1:], [], False, COMM) == 10
