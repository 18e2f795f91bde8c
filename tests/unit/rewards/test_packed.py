"""Reward models on observations of images and vectors together, against each part by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.envs.base import Discrete
from ppo_mpi.envs.spaces import ObservationPart, ObservationSpec
from ppo_mpi.errors import ConfigError
from ppo_mpi.rewards.base import Transitions
from ppo_mpi.rewards.encoders import Encoder, in_unit_range, num_numbers, numbers_of
from ppo_mpi.rewards.icm import Icm
from ppo_mpi.rewards.rnd import Rnd
from ppo_mpi.settings.rewards import RewardsConfig

COMM = Communicator()
BOTH = ObservationSpec.packed(
    (
        ObservationPart("speed", (3,), "float32"),
        ObservationPart("camera", (40, 36, 3), "uint8"),
        ObservationPart("touch", (2,), "float32"),
        ObservationPart("map", (8, 9, 1), "uint8"),
    )
)
IMAGES = ObservationSpec.packed(
    (ObservationPart("left", (8, 8, 3), "uint8"), ObservationPart("right", (8, 9, 1), "uint8"))
)
CONFIG = RewardsConfig(
    encoder_hidden_sizes=(7, 6), reward_feature_size=11, encoded_size=4, inverse_hidden_sizes=(8,),
    forward_hidden_sizes=(9,), rnd_output_size=5, rnd_predictor_sizes=(7,),
    rnd_observation_clip=1.5,
)  # fmt: skip


def rows(spec: ObservationSpec, num: int, seed: int = 0) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Return observations [num, bytes] uint8, and their parts by name."""
    random = np.random.default_rng(seed)
    packed = []
    for _ in range(num):
        packed.append(
            spec.pack(
                [
                    random.integers(0, 256, part.shape)
                    if part.is_image
                    else random.normal(2, 3, part.shape)
                    for part in spec.parts
                ]
            )
        )
    together = np.stack(packed)
    return torch.from_numpy(together), spec.unpack(together)


def changed(module: nn.Module) -> Any:
    """Return the module with biases that are no zeros, which would hide their absence."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def by_parts(encoder: Any, spec: ObservationSpec, parts: dict[str, np.ndarray]) -> Tensor:
    """Run each part through its own torso, and what they give side by side through the rest.

    ``parts`` are float32; images have their channels last.
    """
    torso = encoder.torso
    vectors = [parts[part.name] for part in spec.parts if not part.is_image]
    found = []
    if vectors:
        found.append(torso.vector_torso(torch.from_numpy(np.concatenate(vectors, 1))))
    images = [parts[part.name] for part in spec.parts if part.is_image]
    for own, image in zip(torso.image_torsos, images, strict=True):
        found.append(own(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())))
    features = F.relu(F.linear(torch.cat(found, 1), torso.linear.weight, torso.linear.bias))
    return encoder.head(features)


@pytest.mark.parametrize("spec", [BOTH, IMAGES])
def test_each_part_goes_through_an_encoder_of_its_own(spec: ObservationSpec):
    torch.manual_seed(0)
    encoder = changed(Encoder(spec, CONFIG, 4, (10,)))
    obs, parts = rows(spec, 5)
    scaled = {
        name: (x / np.float32(255) if x.dtype == np.uint8 else x).astype(np.float32)
        for name, x in parts.items()
    }
    torch.testing.assert_close(
        encoder(in_unit_range(spec, obs)), by_parts(encoder, spec, scaled), rtol=1e-4, atol=1e-5
    )
    kinds = [type(torso).__name__ for torso in encoder.torso.image_torsos]
    assert kinds == (["Nature", "Impala"] if spec is BOTH else ["Impala", "Impala"])


def test_numbers_are_the_vectors_and_then_the_pixels_and_nothing_that_fills_up():
    obs, parts = rows(BOTH, 4)
    order = ("speed", "touch", "camera", "map")
    expected = np.concatenate([parts[name].reshape(4, -1) for name in order], 1)
    found = numbers_of(BOTH, obs)
    assert found.shape == (4, num_numbers(BOTH)) == expected.shape
    assert num_numbers(BOTH) < BOTH.shape[0]
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_rnd_normalizes_every_number_and_every_pixel_by_itself():
    torch.manual_seed(1)
    model = changed(Rnd(BOTH, Discrete(2), CONFIG))
    obs, parts = rows(BOTH, 24)
    model.observe(obs.view(6, 4, -1), COMM)
    following, its_parts = rows(BOTH, 5, seed=9)
    normalized = {
        name: np.clip(
            (its_parts[name] - seen.astype(np.float64).mean(0)) / seen.astype(np.float64).std(0),
            -1.5, 1.5,
        ).astype(np.float32)
        for name, seen in parts.items()
    }  # fmt: skip
    assert any((np.abs(x) == 1.5).any() for x in normalized.values())
    guess, target = (by_parts(own, BOTH, normalized) for own in (model.predictor, model.target))
    given = Transitions(following, torch.zeros(5, dtype=torch.int64), following)
    expected = ((guess - target) ** 2).mean(-1)
    # The starting count of 1e-4 of the running moments is small beside 24 samples.
    torch.testing.assert_close(model.rewards(given), expected, rtol=1e-2, atol=1e-4)


def test_rnd_has_statistics_of_images_alone():
    model = Rnd(IMAGES, Discrete(2), CONFIG)
    obs, parts = rows(IMAGES, 8)
    model.observe(obs.view(4, 2, -1), COMM)
    means = np.concatenate([parts[name].reshape(8, -1).mean(0) for name in ("left", "right")])
    np.testing.assert_allclose(model.moments()["rnd_observation"].mean, means, rtol=1e-4)


@pytest.mark.parametrize("kind", [Icm, Rnd])
def test_what_fills_a_row_up_and_what_else_is_computed_changes_nothing(kind: Any):
    torch.manual_seed(2)
    model = kind(BOTH, Discrete(3), CONFIG)
    obs, _ = rows(BOTH, 6)
    model.observe(obs[None], COMM)
    given = Transitions(obs, torch.tensor([0, 1, 2, 0, 1, 2]), obs.flip(0))
    expected = model.rewards(given).tolist()
    alone = [
        model.rewards(Transitions(*(x[i : i + 1] for x in vars(given).values()))).item()
        for i in range(6)
    ]
    assert alone == pytest.approx(expected, rel=1e-4)
    filled = [x.clone() for x in (given.obs, given.next_obs)]
    used = sum(part.num_bytes for part in BOTH.parts)
    assert used < BOTH.shape[0]
    for x in filled:
        x[:, used:] = 77
    assert model.rewards(Transitions(filled[0], given.actions, filled[1])).tolist() == expected


def test_icm_learns_which_part_matters():
    """The action shows in the picture that follows, and nowhere else."""
    spec = ObservationSpec.packed(
        (ObservationPart("picture", (8, 8, 3), "uint8"), ObservationPart("rest", (3,), "float32"))
    )
    torch.manual_seed(3)
    model = Icm(spec, Discrete(3), CONFIG)
    obs, _ = rows(spec, 96)
    actions = torch.arange(96) % 3
    next_obs, _ = rows(spec, 96, seed=1)
    next_obs[:, 12 : 12 + 192] = (actions * 120).to(torch.uint8)[:, None]
    given = Transitions(obs, actions, next_obs)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (model.loss(given)[0] / 96).backward()
        optimizer.step()
    _, (_, inverse, _) = model.loss(given)
    assert inverse / 96 < 0.1  # log 3 = 1.1 for who does not know


def test_images_among_the_parts_need_an_encoder_and_one_that_fits():
    with pytest.raises(ConfigError, match="encoded_size=0 compares .* have some among their parts"):
        Icm(BOTH, Discrete(2), RewardsConfig(encoded_size=0))
    with pytest.raises(ConfigError, match="reward_network=nature: .* or use reward_network=auto"):
        Icm(BOTH, Discrete(2), RewardsConfig(reward_network="nature"))
