"""The same bits however environments are dealt to ranks and work to threads."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from ppo_mpi.envs.base import Discrete, ObservationSpec
from ppo_mpi.learning.reproducible import Workers, outputs_in_rows, samples_by_environment
from ppo_mpi.networks.actor_critic import ActorCritic
from ppo_mpi.settings.network import NetworkConfig

SPECS = {
    "image": ObservationSpec((64, 64, 3), "uint8"),
    "small image": ObservationSpec((20, 12, 1), "uint8"),
    "vector of 3": ObservationSpec((3,), "float32"),
    "vector of 4": ObservationSpec((4,), "float32"),
    "vector of 17": ObservationSpec((17,), "float32"),
}


def model_of(spec: ObservationSpec) -> ActorCritic:
    torch.manual_seed(0)
    config = NetworkConfig(channel_multiplier=0.5, shared_torso=spec.is_image)
    return ActorCritic(spec, Discrete(5), config, torch.float32)


def observations(spec: ObservationSpec, count: int) -> torch.Tensor:
    random = np.random.default_rng(count)
    if spec.is_image:
        return torch.from_numpy(random.integers(0, 256, (count, *spec.shape), np.uint8))
    return torch.from_numpy(random.standard_normal((count, *spec.shape)).astype(np.float32))


@pytest.mark.parametrize("name", SPECS)
def test_an_observation_has_the_same_bits_wherever_it_is_dealt(name):
    model, obs = model_of(SPECS[name]), observations(SPECS[name], 29)
    workers = Workers(1)
    outputs, values = outputs_in_rows(model, obs, workers)
    for sizes in ([10, 10, 9], [15, 14], [1, 28], [8, 8, 8, 5], [29]):
        parts = [outputs_in_rows(model, part, workers) for part in obs.split(sizes)]
        assert torch.equal(torch.cat([part[0] for part in parts]), outputs)
        assert torch.equal(torch.cat([part[1] for part in parts]), values)


@pytest.mark.parametrize("hidden_sizes", [(6,), (100, 50), (9, 7)])
@pytest.mark.parametrize("num_features", [1, 5, 6, 17])
def test_sizes_that_are_no_multiples_of_four_keep_their_bits_too(num_features, hidden_sizes):
    spec = ObservationSpec((num_features,), "float32")
    torch.manual_seed(0)
    config = NetworkConfig(hidden_sizes=hidden_sizes, shared_torso=False)
    model = ActorCritic(spec, Discrete(5), config, torch.float32)
    obs, workers = observations(spec, 29), Workers(1)
    outputs, values = outputs_in_rows(model, obs, workers)
    for sizes in ([10, 10, 9], [15, 14], [1, 28]):
        parts = [outputs_in_rows(model, part.clone(), workers) for part in obs.split(sizes)]
        assert torch.equal(torch.cat([part[0] for part in parts]), outputs)
        assert torch.equal(torch.cat([part[1] for part in parts]), values)


@pytest.mark.parametrize("start", [1, 4, -3, -4])
@pytest.mark.parametrize("num_features", [9, 22])
@pytest.mark.parametrize("by_autograd", [False, True])
def test_a_split_network_keeps_its_bits_too(start, num_features, by_autograd):
    spec = ObservationSpec((num_features,), "float32")
    torch.manual_seed(0)
    config = NetworkConfig(
        network="split", split_start=start, left_hidden_sizes=(9, 7), activation="leaky_relu",
        value_joint_hidden_sizes=(30,), shared_torso=False,
    )  # fmt: skip
    model = ActorCritic(spec, Discrete(5), config, torch.float32)
    if by_autograd:
        model.register_forward_pre_hook(lambda *found: None)  # as who looks at curvature does
    obs, workers = observations(spec, 29), Workers(1)
    outputs, values = outputs_in_rows(model, obs, workers)
    for sizes in ([10, 10, 9], [15, 14], [1, 28]):
        parts = [outputs_in_rows(model, part.clone(), workers) for part in obs.split(sizes)]
        assert torch.equal(torch.cat([part[0] for part in parts]), outputs)
        assert torch.equal(torch.cat([part[1] for part in parts]), values)


@pytest.mark.parametrize("name", SPECS)
def test_rows_are_what_the_model_says(name):
    model, obs = model_of(SPECS[name]), observations(SPECS[name], 11)
    outputs, values = outputs_in_rows(model, obs, Workers(1))
    assert not outputs.requires_grad
    with torch.no_grad():
        expected_outputs, expected_values = model.outputs(obs)
    torch.testing.assert_close(outputs, expected_outputs)
    torch.testing.assert_close(values, expected_values)


def test_threads_change_no_bits():
    spec = SPECS["image"]
    model, obs = model_of(spec), observations(spec, 20)
    outputs, values = outputs_in_rows(model, obs, Workers(1))
    for _ in range(3):
        again, again_values = outputs_in_rows(model, obs, Workers(3))
        assert torch.equal(outputs, again)
        assert torch.equal(values, again_values)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_workers_that_need_not_be_exact_share_the_rows(count):
    model, obs = model_of(SPECS["image"]), observations(SPECS["image"], count)
    outputs, values = outputs_in_rows(model, obs, Workers(3, exact=False))
    with torch.no_grad():
        expected_outputs, expected_values = model.outputs(obs)
    torch.testing.assert_close(outputs, expected_outputs)
    torch.testing.assert_close(values, expected_values)


def test_a_rank_without_observations_gets_empty_outputs():
    outputs, values = outputs_in_rows(model_of(SPECS["vector of 3"]), torch.zeros(0, 3), Workers(1))
    assert outputs.shape == (0, 5)
    assert values.shape == (0,)


@pytest.mark.parametrize("threads", [1, 3])
def test_workers_keep_the_order(threads):
    def slow_first(number: int) -> int:
        time.sleep(0.02 / (number + 1))
        return number * number

    assert list(Workers(threads).map(slow_first, range(9))) == [n * n for n in range(9)]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_worker_reaches_the_caller(threads):
    with pytest.raises(ZeroDivisionError):
        list(Workers(threads).map(lambda x: 1 // x, [1, 0, 2]))


def test_samples_are_split_by_environment_whatever_its_slot():
    # Environment b has samples t * B + b; the second environment here is alone on its rank there.
    both = samples_by_environment(torch.tensor([0, 3, 4, 7, 9]), num_envs=2, size=0)
    assert [piece.tolist() for piece in both] == [[0, 4], [3, 7, 9]]
    alone = samples_by_environment(torch.tensor([1, 3, 4]), num_envs=1, size=0)
    assert [piece.tolist() for piece in alone] == [[1, 3, 4]]  # the same steps


def test_pieces_are_no_larger_than_asked_and_never_empty():
    pieces = samples_by_environment(torch.tensor([1, 3, 5, 7, 9]), num_envs=2, size=2)
    assert [piece.tolist() for piece in pieces] == [[1, 3], [5, 7], [9]]
    assert samples_by_environment(torch.zeros(0, dtype=torch.int64), 2, 0) == []
