"""The torso for images and vectors together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.envs.spaces import ObservationPart
from ppo_mpi.errors import ConfigError
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.networks.combined import Combined, unpacked
from ppo_mpi.networks.direct import runs_directly
from ppo_mpi.networks.impala import Impala
from ppo_mpi.networks.mlp import Mlp
from ppo_mpi.networks.nature import Nature
from ppo_mpi.settings.network import NetworkConfig

SPEC = ObservationSpec.packed(
    (
        ObservationPart("speed", (3,), "float32"),
        ObservationPart("camera", (40, 36, 3), "uint8"),
        ObservationPart("depth", (36, 37, 1), "uint8"),
        ObservationPart("place", (2,), "float32"),
    )
)
CAMERA = ObservationSpec.packed((SPEC.parts[1], SPEC.parts[2]))
SMALL = {"channel_multiplier": 0.25, "feature_size": 24, "hidden_sizes": (8,)}


def make(
    spec: ObservationSpec = SPEC, precision: torch.dtype = torch.float32, **settings: Any
) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(spec, Discrete(5), NetworkConfig(**SMALL | settings), precision)


def rows(spec: ObservationSpec = SPEC, count: int = 6) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Return packed observations [N, bytes] and the parts, [N, ...] each."""
    rng = np.random.default_rng(0)
    parts = [
        rng.integers(256, size=(count, *part.shape), dtype=np.uint8)
        if part.is_image
        else rng.standard_normal((count, *part.shape)).astype(np.float32)
        for part in spec.parts
    ]
    packed = np.stack([spec.pack([part[i] for part in parts]) for i in range(count)])
    return torch.from_numpy(packed), parts


def test_vectors_come_together_and_images_as_an_image_torso_takes_them():
    obs, (speed, camera, depth, place) = rows()
    vectors, first, second = unpacked(SPEC, obs, torch.float32)
    assert vectors.tolist() == np.concatenate([speed, place], 1).tolist()
    assert vectors.data_ptr() == obs.data_ptr(), "a view"
    for image, pixels in ((first, camera), (second, depth)):
        np.testing.assert_allclose(image.permute(0, 2, 3, 1).numpy(), pixels / 255, rtol=1e-6)
        assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(obs, rows()[0]), "the observations themselves were changed"


@pytest.mark.parametrize(
    ("network", "kind"),
    [("auto", Impala), ("combined", Impala), ("impala", Impala), ("nature", Nature), ("mlp", Mlp)],
)
def test_the_network_is_that_of_each_image_and_what_it_gives_is_joined(network: str, kind: type):
    model = make(network=network)
    torso = model.torso
    assert isinstance(torso, Combined)
    assert [type(own) for own in torso.image_torsos] == [kind] * 2
    obs, (speed, camera, depth, place) = rows()
    vectors = torch.from_numpy(np.concatenate([speed, place], 1))
    images = [torch.from_numpy(x / 255).float().permute(0, 3, 1, 2) for x in (camera, depth)]
    found = [torso.vector_torso(vectors)]
    found += [own(image) for own, image in zip(torso.image_torsos, images, strict=True)]
    joined = torch.cat(found, 1)
    expected = torch.relu(joined @ torso.linear.weight.T + torso.linear.bias)
    torch.testing.assert_close(torso(model.prepare(obs)), expected, rtol=1e-4, atol=1e-5)
    assert not runs_directly(model, obs)


def test_every_part_of_an_observation_matters_to_policy_and_value():
    model = make(shared_torso=False)
    obs, _ = rows(count=2)
    outputs, values = model.outputs(obs)
    for part, place in zip(SPEC.parts, SPEC.places, strict=True):
        other = obs.clone()
        other[0, place : place + part.num_bytes] = obs[1, place : place + part.num_bytes]
        changed, changed_values = model.outputs(other)
        assert not torch.equal(changed[0], outputs[0]), part.name
        assert changed_values[0] != values[0], part.name
        torch.testing.assert_close(changed[1], outputs[1])
    sum(x.sum() for x in model.outputs(obs)).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_images_alone_need_no_vectors():
    model = make(CAMERA)
    assert model.torso.vector_torso is None
    outputs, values = model.outputs(rows(CAMERA)[0])
    assert (outputs.shape, values.shape) == ((6, 5), (6,))


def test_in_bfloat16_the_numbers_of_vectors_keep_their_precision():
    model = make(precision=torch.bfloat16)
    obs, _ = rows(count=1)
    vectors, *images = model.prepare(obs)
    assert vectors.dtype == torch.float32
    assert [image.dtype for image in images] == [torch.bfloat16] * 2
    seen = []
    model.torso.vector_torso.register_forward_hook(lambda _, x, y: seen.append((x[0], y)))
    outputs, _ = model.outputs(obs)
    assert outputs.dtype == torch.float32
    assert [x.dtype for x in seen[0]] == [torch.float32] * 2
    expected = make()
    expected.load_state_dict(model.state_dict())
    torch.testing.assert_close(outputs, expected.outputs(obs)[0], atol=0.02, rtol=0.1)


def test_networks_that_cannot_see_parts_are_refused():
    with pytest.raises(ConfigError, match="network=combined needs observations of images and vec"):
        make(ObservationSpec((6,), "float32"), network="combined")
    with pytest.raises(
        ConfigError, match="network=other cannot see .* auto, combined, impala, mlp"
    ):
        make(network="other")
