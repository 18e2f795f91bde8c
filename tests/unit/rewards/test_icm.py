"""The intrinsic curiosity module against the paper's equations, in numpy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ppo_mpi.envs.base import ActionSpec, Box, Discrete, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.rewards.base import Transitions
from ppo_mpi.rewards.icm import Icm
from ppo_mpi.settings.rewards import RewardsConfig

VECTOR = ObservationSpec((5,), "float32")
CONFIG = RewardsConfig(
    encoder_hidden_sizes=(7, 6), encoded_size=4, inverse_hidden_sizes=(8,),
    forward_hidden_sizes=(9, 3), icm_beta=0.7, icm_reward_scale=0.3,
)  # fmt: skip


def make_icm(spec: ActionSpec, config: RewardsConfig = CONFIG, obs_spec=VECTOR) -> Icm:
    torch.manual_seed(4)
    model = Icm(obs_spec, spec, config)
    with torch.no_grad():  # biases are zeros at first, and would hide their absence
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def transitions(spec: ActionSpec, num: int = 6) -> Transitions:
    random = torch.Generator().manual_seed(5)
    obs, next_obs = torch.randn(2, num, 5, generator=random)
    if isinstance(spec, Discrete):
        actions = torch.randint(spec.num_actions, (num,), generator=random)
    else:
        actions = 2 * torch.randn(num, len(spec.low), generator=random)
    return Transitions(obs, actions, next_obs)


def perceptron(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """Evaluate linear layers in order, ReLU between them and nothing behind the last."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(layers):
        x = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        if i < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def paper(model: Icm, given: Transitions, spec: ActionSpec) -> dict[str, np.ndarray]:
    """Return each sample's reward and losses by equations 2 to 7 of arXiv:1705.05363."""
    rewards, inverse, forward = [], [], []
    for obs, action, next_obs in zip(given.obs, given.actions, given.next_obs, strict=True):
        x, y = obs.double().numpy(), next_obs.double().numpy()
        if model.encoder is not None:
            x, y = perceptron(model.encoder, x), perceptron(model.encoder, y)
        guess = perceptron(model.inverse, np.concatenate([x, y]))
        if isinstance(spec, Discrete):
            taken = np.eye(spec.num_actions)[int(action)]
            inverse.append(-np.log(np.exp(guess[int(action)]) / np.exp(guess).sum()))
        else:
            taken = np.clip(action.double().numpy(), spec.low, spec.high)
            inverse.append(((guess - taken) ** 2).mean())
        error = ((perceptron(model.dynamics, np.concatenate([x, taken])) - y) ** 2).sum()
        forward.append(error / 2)
        rewards.append(model.scale / 2 * error)
    return {
        "rewards": np.array(rewards),
        "inverse": np.array(inverse),
        "forward": np.array(forward),
    }


@pytest.mark.parametrize("spec", [Discrete(3), Box((-1.0, -1.0), (1.0, 2.0))])
@pytest.mark.parametrize("encoded_size", [4, 0])
def test_rewards_and_losses_are_those_of_the_paper(spec: ActionSpec, encoded_size: int):
    values = vars(CONFIG) | {"encoded_size": encoded_size}
    model, given = make_icm(spec, RewardsConfig(**values)), transitions(spec)
    expected = paper(model, given, spec)
    np.testing.assert_allclose(model.rewards(given).detach(), expected["rewards"], rtol=1e-4)
    loss, sums = model.loss(given)
    inverse, forward = expected["inverse"].sum(), expected["forward"].sum()
    total = 0.7 * inverse + 0.3 * forward
    np.testing.assert_allclose(loss.item(), total, rtol=1e-4)
    np.testing.assert_allclose(sums, [total, inverse, forward], rtol=1e-4)


def test_the_reward_of_a_known_network():
    model = Icm(ObservationSpec((1,), "float32"), Discrete(2), RewardsConfig(
        encoded_size=0, forward_hidden_sizes=(), inverse_hidden_sizes=(), icm_reward_scale=0.5,
    ))  # fmt: skip
    with torch.no_grad():  # guess = 2 s + 1 if the action is 1, and 2 s if it is 0
        model.dynamics.head.weight.copy_(torch.tensor([[2.0, 0.0, 1.0]]))
        model.dynamics.head.bias.zero_()
    given = Transitions(
        torch.tensor([[1.0], [1.0]]), torch.tensor([0, 1]), torch.tensor([[5.0], [2.0]])
    )
    assert model.rewards(given).tolist() == [0.25 * 9, 0.25 * 1]


def gradients(model: Icm, loss: Tensor) -> dict[str, Tensor]:
    names = [name for name, _ in model.named_parameters()]
    own = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return {name: g for name, g in zip(names, own, strict=True) if g is not None}


def test_the_forward_loss_does_not_move_its_target():
    """The gradient is that of a loss whose phi(s') comes from a copy of the encoder."""
    model, given = (
        make_icm(Discrete(3), RewardsConfig(**vars(CONFIG) | {"icm_beta": 0.0})),
        (transitions(Discrete(3))),
    )
    found = gradients(model, model.loss(given)[0])
    with torch.no_grad():
        target = copy.deepcopy(model).encode(given.next_obs)
    errors = model.squared_errors(model.encode(given.obs), given.actions, target)
    expected = gradients(model, errors.sum() / 2)
    assert any(name.startswith("encoder") for name in expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    for name in found.keys() - expected.keys():
        assert not found[name].any(), name


def test_learning_makes_what_was_learned_from_less_surprising():
    spec = Discrete(3)
    model, given = make_icm(spec), transitions(spec, 64)
    before = model.rewards(given).mean().item()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        (model.loss(given)[0] / 64).backward()
        optimizer.step()
    _, (_, inverse, _) = model.loss(given)
    assert inverse / 64 < 0.1  # log 3 = 1.1 for who does not know
    encoded = model.encode(given.next_obs).detach()
    spread = ((encoded - encoded.mean(0)) ** 2).sum(-1).mean()
    error = model.rewards(given).mean() * 2 / model.scale
    assert error < 0.5 * spread, "the forward model knows more than the mean"
    assert before > 0


@pytest.mark.parametrize(
    ("shape", "network"), [((8, 8, 3), "auto"), ((40, 36, 4), "auto"), ((8, 8, 3), "mlp")]
)
def test_images_go_through_convolutions(shape: tuple[int, ...], network: str):
    config = RewardsConfig(**vars(CONFIG) | {"reward_network": network, "reward_feature_size": 16})
    model = make_icm(Discrete(3), config, ObservationSpec(shape, "uint8"))
    obs, next_obs = torch.randint(256, (2, 5, *shape), dtype=torch.uint8)
    given = Transitions(obs, torch.tensor([0, 1, 2, 0, 1]), next_obs)
    together = model.rewards(given).tolist()
    alone = [
        model.rewards(Transitions(*(x[i : i + 1] for x in vars(given).values()))).item()
        for i in range(5)
    ]
    assert together == pytest.approx(alone, rel=1e-4)
    names = {type(layer).__name__ for layer in model.modules()}
    assert ("Conv2d" in names or "Convolution" in names) == (network == "auto")
    assert model.encode(obs).shape == (5, 4)


def test_a_network_that_does_not_fit_is_named_by_its_own_setting():
    config = RewardsConfig(reward_network="nature")
    with pytest.raises(ConfigError, match="reward_network=nature: .* or use reward_network=auto"):
        make_icm(Discrete(2), config)


def test_images_need_an_encoder():
    with pytest.raises(ConfigError, match="encoded_size=0 compares observations as they are.*=128"):
        Icm(ObservationSpec((8, 8, 3), "uint8"), Discrete(2), RewardsConfig(encoded_size=0))
