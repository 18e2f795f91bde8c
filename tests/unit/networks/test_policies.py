"""Policies over every action space: against their formulas, one sample after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from spaces import random_actions

from ppo_mpi.envs.base import ActionSpec, Box, Composite, Discrete, MultiBinary, MultiDiscrete
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.distributions import Bernoulli, MultiCategorical, draw_noise
from ppo_mpi.networks.policies import PolicyKind
from ppo_mpi.settings.network import NetworkConfig

NUM = 40
BOX = Box((-1.0, 2.0), (1.0, 2.5))
SPACES: dict[str, ActionSpec] = {
    "discrete": Discrete(4),
    "equal choices": MultiDiscrete((3, 3)),
    "choices": MultiDiscrete((3, 1, 4)),
    "switches": MultiBinary(3),
    "box": BOX,
    "composite": Composite(
        (Discrete(3), BOX, MultiBinary(2), MultiDiscrete((2, 3)), Box((0,), (1,)))
    ),
    "whole composite": Composite((Discrete(3), MultiBinary(1))),
}
DEVIATIONS = [("exp", 0.0), ("exp", 0.5), ("softplus", 0.0), ("softplus", 0.5)]


def make(
    spec: ActionSpec, **settings: object
) -> tuple[PolicyKind, torch.Tensor, torch.Tensor | None]:
    """Return a kind of policy with random outputs [N, A], and its own parameter [R]."""
    kind = PolicyKind(spec, NetworkConfig(**settings))
    generator = torch.Generator().manual_seed(2)
    outputs = torch.randn(NUM, spec.num_outputs, generator=generator).requires_grad_()
    own = None
    if spec.num_reals:
        # Some lie below the smallest deviation, some above.
        noise = torch.linspace(-1.5, 1, spec.num_reals)
        own = (kind.initial_parameter() + noise).requires_grad_()
    return kind, outputs, own


def actions_of(spec: ActionSpec) -> torch.Tensor:
    return torch.from_numpy(random_actions(spec, np.random.default_rng(3), NUM))


def slow_log_prob(
    spec: ActionSpec, outputs: np.ndarray, std: np.ndarray, action: np.ndarray, squash: bool
) -> tuple[float, float]:
    """Return log pi(a) of one sample, and the entropy of all but squashed numbers, in nats."""
    if isinstance(spec, Composite):
        total = np.zeros(2)
        for part in spec.parts:
            a, n, r = part.num_outputs, max(1, math.prod(part.action_shape)), part.num_reals
            own = action[:n] if part.action_shape else action[0]
            total += slow_log_prob(part, outputs[:a], std[:r], own, squash)
            outputs, std, action = outputs[a:], std[r:], action[n:]
        return total[0], total[1]
    log_prob = entropy = 0.0
    if isinstance(spec, Box):
        for m, s, u, low, high in zip(outputs, std, action, spec.low, spec.high, strict=True):
            log_prob += math.log(
                math.exp(-((u - m) ** 2) / (2 * s * s)) / math.sqrt(2 * math.pi) / s
            )
            entropy += math.log(s * math.sqrt(2 * math.pi * math.e))
            if squash:
                log_prob -= math.log((high - low) / 2 * (1 - math.tanh(u) ** 2))
        return log_prob, entropy
    if isinstance(spec, MultiBinary):
        for x, a in zip(outputs, action, strict=True):
            p = 1 / (1 + math.exp(-x))
            log_prob += math.log(p if a else 1 - p)
            entropy -= p * math.log(p) + (1 - p) * math.log(1 - p)
        return log_prob, entropy
    nums = (spec.num_actions,) if isinstance(spec, Discrete) else spec.nums
    for num, a in zip(nums, np.atleast_1d(action).astype(int), strict=True):
        weights = np.exp(outputs[:num])
        log_prob += math.log(weights[a] / weights.sum())
        entropy -= sum(w / weights.sum() * math.log(w / weights.sum()) for w in weights)
        outputs = outputs[num:]
    return log_prob, entropy


def deviations(own: torch.Tensor | None, function: str, min_std: float) -> np.ndarray:
    if own is None:
        return np.zeros(0)
    raw = own.detach().double().numpy()
    return np.maximum(np.exp(raw) if function == "exp" else np.log1p(np.exp(raw)), min_std)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("function", "min_std"), DEVIATIONS)
@pytest.mark.parametrize("space", SPACES)
def test_log_probabilities_and_entropies_are_those_of_the_formulas(
    space: str, function: str, min_std: float, squash: bool
):
    spec = SPACES[space]
    settings = {"std_function": function, "min_std": min_std}
    kind, outputs, own = make(spec, **settings, box_actions="squash" if squash else "clip")
    policy, actions = kind.distribution(outputs, own), actions_of(spec)
    std = deviations(own, function, min_std)
    expected = [
        slow_log_prob(spec, row, std, action, squash)
        for row, action in zip(outputs.detach().double().numpy(), actions.numpy(), strict=True)
    ]
    found = policy.log_prob(actions).detach().double().numpy()
    np.testing.assert_allclose(found, [log_prob for log_prob, _ in expected], rtol=1e-4, atol=1e-4)
    if not (squash and spec.num_reals):
        entropies = policy.entropy().detach().double().numpy()
        np.testing.assert_allclose(entropies, [h for _, h in expected], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of_entropy", [0.0, -0.3])
@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("function", "min_std"), DEVIATIONS)
@pytest.mark.parametrize("space", SPACES)
def test_gradients_by_hand_are_autograds(
    space: str, function: str, min_std: float, squash: bool, of_entropy: float
):
    spec = SPACES[space]
    settings = {"std_function": function, "min_std": min_std}
    kind, outputs, own = make(spec, **settings, box_actions="squash" if squash else "clip")
    actions = actions_of(spec)
    of_log_prob = torch.randn(NUM, generator=torch.Generator().manual_seed(4))
    policy = kind.distribution(outputs, own)
    total = policy.log_prob(actions) @ of_log_prob + of_entropy * policy.entropy().sum()
    sources = [outputs] if own is None else [outputs, own]
    expected = torch.autograd.grad(total, sources)
    with torch.no_grad():
        found = kind.distribution(outputs, own).gradients(actions, of_log_prob, of_entropy)
    assert len(found) == len(expected)
    for gradient, other in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("space", SPACES)
def test_samples_and_modes_fit_the_space_and_composites_are_their_parts(space: str):
    spec = SPACES[space]
    kind, outputs, own = make(spec, box_actions="squash")
    random = np.random.default_rng(0)
    noise = torch.from_numpy(np.stack([draw_noise(random, 1, spec)[0] for _ in range(NUM)]))
    assert noise.shape == (NUM, spec.noise_size)
    policy = kind.distribution(outputs, own)
    for actions in (policy.sample(noise), policy.mode()):
        assert actions.shape == (NUM, *spec.action_shape)
        assert actions.dtype == getattr(torch, spec.dtype)
        assert torch.isfinite(policy.log_prob(actions)).all()
    if not isinstance(spec, Composite):
        return
    sampled, modes, column = policy.sample(noise), policy.mode(), 0
    taken = 0
    for part in spec.parts:
        alone = PolicyKind(part, NetworkConfig(box_actions="squash"))
        own_part = None if own is None else own[: part.num_reals]
        own = None if own is None else own[part.num_reals :]
        single = alone.distribution(outputs[:, : part.num_outputs], own_part)
        columns = slice(column, column + math.prod(part.action_shape))
        own_noise = noise[:, taken : taken + part.noise_size]
        for whole, single_actions in ((sampled, single.sample(own_noise)), (modes, single.mode())):
            assert torch.equal(whole[:, columns], single_actions.reshape(NUM, -1).float())
        outputs, column = outputs[:, part.num_outputs :], columns.stop
        taken += part.noise_size


def test_choices_and_switches_are_taken_as_often_as_the_policy_says():
    random = np.random.default_rng(1)
    spec = MultiDiscrete((2, 3))
    logits = torch.tensor([0.3, 0.7, 0.2, 0.1, 0.7]).log().expand(40_000, 5)
    noise = torch.from_numpy(draw_noise(random, 40_000, spec))
    actions = MultiCategorical(logits, spec.nums).sample(noise)
    joint = torch.bincount(actions[:, 0] * 3 + actions[:, 1], minlength=6) / 40_000
    expected = torch.tensor([0.06, 0.03, 0.21, 0.14, 0.07, 0.49])
    torch.testing.assert_close(joint, expected, atol=0.01, rtol=0.0)
    odds = torch.tensor([0.9, 0.2]).logit().expand(40_000, 2)
    switched = Bernoulli(odds).sample(torch.from_numpy(draw_noise(random, 40_000, MultiBinary(2))))
    assert switched.double().mean(0).tolist() == pytest.approx([0.9, 0.2], abs=0.01)


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-53])
def test_a_choice_never_takes_an_action_that_it_does_not_have(noise: float):
    policy = MultiCategorical(torch.zeros(1, 6), (1, 3, 2))
    actions = policy.sample(torch.full((1, 3), noise, dtype=torch.float64))
    assert actions.tolist() == ([[0, 0, 0]] if noise == 0 else [[0, 2, 1]])


@pytest.mark.parametrize("space", SPACES)
def test_noise_is_the_same_drawn_at_once_and_step_by_step(space: str):
    spec = SPACES[space]
    at_once = draw_noise(np.random.default_rng(5), 30, spec)
    random = np.random.default_rng(5)
    pieces = [draw_noise(random, steps, spec) for steps in (1, 1, 8, 20)]
    assert np.concatenate(pieces).tobytes() == at_once.tobytes()


def test_a_composites_noise_is_uniform_for_whole_numbers_and_normal_for_others():
    spec = Composite((Discrete(3), BOX, MultiBinary(1)))
    noise = draw_noise(np.random.default_rng(6), 40_000, spec)
    for column in (0, 3):
        assert 0 <= noise[:, column].min() < noise[:, column].max() < 1
        assert noise[:, column].mean() == pytest.approx(0.5, abs=0.01)
    inner = noise[:, 1:3]
    assert inner.mean(0) == pytest.approx([0, 0], abs=0.02)
    assert inner.std(0) == pytest.approx([1, 1], abs=0.02)
    assert (np.abs(inner) < 1.96).mean() == pytest.approx(0.95, abs=0.005)
    assert np.corrcoef(noise.T)[np.triu_indices(4, 1)] == pytest.approx([0] * 6, abs=0.02)

    class Zeros:
        """What a generator may give once in a very long time."""

        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.zeros(shape)

    assert np.isfinite(draw_noise(Zeros(), 2, spec)).all()


@pytest.mark.parametrize("function", ["exp", "softplus"])
def test_the_first_deviation_is_that_of_the_setting_whatever_makes_it(function: str):
    for first in (-2.0, 0.0, 1.5):
        kind = PolicyKind(BOX, NetworkConfig(std_function=function, initial_log_std=first))
        own = kind.initial_parameter()
        policy = kind.distribution(torch.zeros(1, 2), own)
        step = policy.sample(torch.ones(1, 2, dtype=torch.float64))
        assert step.tolist()[0] == pytest.approx([math.exp(first)] * 2, rel=1e-5)


def test_a_deviation_that_is_too_small_is_held_and_a_tiny_one_stays_finite():
    kind = PolicyKind(BOX, NetworkConfig(std_function="softplus", min_std=0.01))
    noise = torch.ones(1, 2, dtype=torch.float64)
    policy = kind.distribution(torch.zeros(1, 2), torch.tensor([-20.0, 0.0]))
    assert policy.sample(noise).tolist()[0] == pytest.approx([0.01, math.log(2)], rel=1e-5)
    free = PolicyKind(BOX, NetworkConfig(std_function="softplus"))
    policy = free.distribution(torch.zeros(1, 2), torch.tensor([-300.0, 0.0]))
    assert torch.isfinite(policy.log_prob(torch.zeros(1, 2))).all()


def test_a_smallest_deviation_that_the_first_one_does_not_exceed_is_refused():
    with pytest.raises(ConfigError, match="min_std=0.5 is not below .* initial_log_std=-1.0"):
        NetworkConfig(min_std=0.5, initial_log_std=-1.0).check()
    with pytest.raises(ConfigError, match="min_std=-1.0 is too small; use 0 or more"):
        NetworkConfig(min_std=-1.0).check()


def test_what_does_not_ask_for_squashing_is_given_to_the_suite_as_it_is():
    for spec in SPACES.values():
        actions = actions_of(spec)
        kind = PolicyKind(spec, NetworkConfig())
        assert kind.for_suite(actions) is actions
    for name in ("discrete", "choices", "switches", "whole composite"):
        kind = PolicyKind(SPACES[name], NetworkConfig(box_actions="squash"))
        assert torch.equal(kind.for_suite(actions_of(SPACES[name])), actions_of(SPACES[name]))


def test_only_the_numbers_of_boxes_are_squashed_and_they_keep_to_their_bounds():
    spec = SPACES["composite"]
    kind = PolicyKind(spec, NetworkConfig(box_actions="squash"))
    actions = actions_of(spec)
    actions[0, 1:3] = torch.tensor([1e9, -1e9])
    taken = kind.for_suite(actions)
    u = actions.double().numpy()
    expected = u.copy()
    for column, low, high in ((1, -1.0, 1.0), (2, 2.0, 2.5), (7, 0.0, 1.0)):
        expected[:, column] = low + (high - low) * (np.tanh(u[:, column]) + 1) / 2
        assert low <= taken[:, column].min() <= taken[:, column].max() <= high
    np.testing.assert_allclose(taken.numpy(), expected, atol=1e-6)
    assert taken[0, 1:3].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("bound", [math.inf, 0.0, -1.0])
def test_nothing_can_be_squashed_into_bounds_that_are_none(bound: float):
    for spec in (Box((0.0,), (bound,)), Composite((Discrete(2), Box((0.0,), (bound,))))):
        with pytest.raises(ConfigError, match="squash needs finite bounds.* lies in .0.0, .* use"):
            PolicyKind(spec, NetworkConfig(box_actions="squash"))
        PolicyKind(spec, NetworkConfig())
