"""The collectives on as many ranks as this test is run on: one, two, three, any."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import run_python
from torch import nn

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.distributed.device_gradients import DeviceGradients
from ppo_mpi.distributed.gradients import ExactGradients, FlatGradients
from ppo_mpi.errors import NonFiniteError, ReplicaMismatchError
from ppo_mpi.learning.normalizers import ObservationNormalizer, RewardNormalizer


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))


def samples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 5, generator=generator), torch.randn(count, 1, generator=generator)


def squared_error(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((model(x) - y) ** 2).sum()


def own_rows(comm: Communicator, total: int) -> slice:
    shard = comm.shard(total)
    return slice(shard.start, shard.stop)


# 2 samples on 3 ranks leave one rank without any; 13 and 37 are uneven on 2 and on 3 ranks.
@pytest.mark.parametrize("kind", [FlatGradients, DeviceGradients])
@pytest.mark.parametrize("total", [2, 12, 13, 37])
def test_average_gradients_equals_one_rank_on_the_whole_batch(
    comm: Communicator, total: int, kind: type[FlatGradients]
):
    model, (x, y) = make_model(), samples(total)
    whole = copy.deepcopy(model)
    (squared_error(whole, x, y) / total).backward()

    gradients = kind(model, ("error", "ones"))
    own = own_rows(comm, total)
    if own.start < own.stop:
        loss = squared_error(model, x[own], y[own])
        loss.backward()
        num_samples = own.stop - own.start
        gradients.add_statistics(torch.tensor([loss.item(), num_samples]), num_samples)
    row = comm.average_gradients(gradients)
    row["gradient_norm"] = gradients.clip_norm(0.0)
    (statistics,) = gradients.read([row])

    for averaged, expected in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(averaged.grad, expected.grad)
    error = (squared_error(whole, x, y) / total).item()
    norm = torch.cat([p.grad.flatten() for p in whole.parameters() if p.grad is not None]).norm()
    assert statistics == pytest.approx(
        {"error": error, "ones": 1.0, "num_samples": total, "gradient_norm": norm.item()}
    )


@pytest.mark.parametrize("total", [2, 13, 37])
def test_exact_gradients_have_the_bits_of_one_rank_on_the_whole_batch(
    comm: Communicator, total: int
):
    model, (x, y) = make_model(), samples(total)

    def gradients_of(rows: range, communicator: Communicator) -> ExactGradients:
        gradients = ExactGradients(model, ("error",))
        for row in rows:
            loss = squared_error(model, x[row : row + 1], y[row : row + 1])
            terms = torch.autograd.grad(loss, gradients.parameters)
            gradients.add_term(terms, loss.detach()[None], 1)
        communicator.average_gradients(gradients)
        return gradients

    alone = gradients_of(range(total), Communicator())
    together = gradients_of(comm.shard(total), comm)
    assert torch.equal(together.buffer[:-1], alone.buffer[:-1])
    reverse = gradients_of(comm.shard(total)[::-1], comm)
    assert torch.equal(reverse.buffer[:-1], alone.buffer[:-1])


@pytest.mark.parametrize("kind", [FlatGradients, DeviceGradients])
def test_a_poisoned_gradient_on_one_rank_is_an_error_on_all(
    comm: Communicator, kind: type[FlatGradients]
):
    gradients = kind(make_model(), ())
    gradients.add_statistics(torch.zeros(0), 1)
    if comm.rank == comm.world_size - 1:
        gradients.gradients[3] = float("nan")

    def average() -> None:
        row = comm.average_gradients(gradients)
        gradients.read([row | {"gradient_norm": gradients.clip_norm(1.0)}])

    with pytest.raises(NonFiniteError, match=rf"averaged over {comm.world_size} rank.*0.weight"):
        average()


def test_shards_of_all_ranks_are_the_whole(comm: Communicator):
    for total in (0, 1, comm.world_size, 17):
        shards = comm.gather_all(comm.shard(total))
        assert [i for shard in shards for i in shard] == list(range(total))


def test_sums_are_over_all_ranks(comm: Communicator):
    expected = sum(range(1, comm.world_size + 1))
    for dtype in (np.float64, np.int64):
        array = np.full((2, 3), comm.rank + 1, dtype)
        np.testing.assert_array_equal(comm.sum(array), np.full((2, 3), expected, dtype))
        assert (array == comm.rank + 1).all(), "the argument was changed"
    assert comm.sum(np.zeros((0, 3))).shape == (0, 3)
    transposed = np.arange(6.0).reshape(2, 3).T
    np.testing.assert_array_equal(comm.sum(transposed), transposed * comm.world_size)


def test_any_is_true_if_it_is_on_one_rank(comm: Communicator):
    for rank in range(comm.world_size):
        assert comm.any(comm.rank == rank) is True
    assert comm.any(False) is False


@pytest.mark.parametrize("total", [2, 13, 300])
def test_moments_are_those_of_all_samples(comm: Communicator, total: int):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(total, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.01]) + 1000.0
    mean, deviation = comm.moments(x[own_rows(comm, total)])
    np.testing.assert_allclose(mean, x.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, x.double().std(0, unbiased=False), rtol=1e-6)


def test_objects_reach_whom_they_should(comm: Communicator):
    assert comm.broadcast_object(("from", comm.rank)) == ("from", 0)
    everyone = [{"rank": rank} for rank in range(comm.world_size)]
    assert comm.gather_all({"rank": comm.rank}) == everyone
    gathered = comm.gather_objects({"rank": comm.rank})
    assert gathered == (everyone if comm.is_root else None)


def test_objects_of_other_sizes_on_each_rank_arrive_whole(comm: Communicator):
    everyone = [bytes([rank]) * (rank * 1_000_000) for rank in range(comm.world_size)]
    own = everyone[comm.rank]
    assert comm.gather_all(own) == everyone
    assert comm.gather_objects(own) == (everyone if comm.is_root else None)
    assert comm.broadcast_object(everyone if comm.is_root else None) == everyone


def test_a_broadcast_module_has_rank_0s_parameters_and_buffers(comm: Communicator):
    torch.manual_seed(comm.rank)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module = module.to(memory_format=torch.channels_last)
    module(torch.rand(2, 3, 5, 5))  # moves the buffers
    comm.broadcast_module(module)
    torch.manual_seed(0)
    expected = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    expected = expected.to(memory_format=torch.channels_last)
    expected(torch.rand(2, 3, 5, 5))
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], tensor)
    comm.check_replicas(module)


def odd_rank_message(comm: Communicator, rank: int) -> str:
    """Return what tells that ``rank`` differs from all others, as far as that can be told."""
    if comm.world_size == 2:
        return "the 2 ranks hold 2 different models"
    return rf"rank\(s\) \[{rank}\] hold other parameters than the other {comm.world_size - 1} ranks"


def test_one_changed_bit_on_one_rank_is_found_and_the_rank_and_the_tensor_are_named(
    comm: Communicator,
):
    for rank in range(comm.world_size if comm.world_size > 1 else 0):
        model = make_model()
        comm.check_replicas(model)
        if comm.rank == rank:
            bits = model[2].weight.data.view(torch.int32)
            bits[0, 3] ^= 1
        message = odd_rank_message(comm, rank)
        with pytest.raises(ReplicaMismatchError, match=rf"{message} \(in 2\.weight\)"):
            comm.check_replicas(model)


def test_replicas_that_all_differ_are_said_to_do_so(comm: Communicator):
    model = make_model()
    model[0].bias.data[0] += comm.rank
    if comm.world_size == 1:
        comm.check_replicas(model)
        return
    with pytest.raises(ReplicaMismatchError, match="different models") as raised:
        comm.check_replicas(model)
    assert f"hold {comm.world_size} different models (in 0.bias)" in str(raised.value)


def test_a_ring_gives_everything_to_the_rank_that_many_places_on(comm: Communicator):
    for distance in range(comm.world_size):
        received = comm.exchange({"from": comm.rank, "blob": bytes(100_000)}, distance)
        assert received["from"] == (comm.rank - distance) % comm.world_size
        assert len(received["blob"]) == 100_000


def test_where_ranks_cannot_be_lost_an_agreement_is_what_this_rank_says(comm: Communicator):
    assert comm.agree(True)
    assert not comm.agree(False)
    comm.finish(0)  # does not end the process


def test_time_in_collectives_is_counted(comm: Communicator):
    before = comm.seconds
    comm.barrier()
    assert comm.seconds > before if comm.world_size > 1 else comm.seconds == 0.0


def test_rewards_are_normalized_by_the_whole_job(comm: Communicator):
    random = np.random.default_rng(0)
    alone, together = RewardNormalizer(7, 0.9, 5.0), None
    for steps in (4, 9):
        rewards = (random.standard_normal((steps, 7)) * 3 + 1).astype(np.float32)
        ended = random.random((steps, 7)) < 0.3
        own = own_rows(comm, 7)
        together = together or RewardNormalizer(own.stop - own.start, 0.9, 5.0)
        expected = alone(rewards, ended, Communicator())
        found = together(rewards[:, own], ended[:, own], comm)
        np.testing.assert_allclose(found, expected[:, own], rtol=1e-6)


def test_observation_statistics_are_those_of_the_whole_job(comm: Communicator):
    random = np.random.default_rng(1)
    alone, together = ObservationNormalizer((3,), 10.0), ObservationNormalizer((3,), 10.0)
    for _ in range(3):
        for obs in random.standard_normal((5, 7, 3)).astype(np.float32) * 4 + 2:
            alone.see(obs)
            together.see(obs[own_rows(comm, 7)])
        alone.update(Communicator())
        together.update(comm)
    np.testing.assert_allclose(together.moments.mean, alone.moments.mean, rtol=1e-12)
    np.testing.assert_allclose(together.moments.variance, alone.moments.variance, rtol=1e-12)
    assert together.moments.count == pytest.approx(alone.moments.count)


NEVER_COMES = """
import sys, time
from ppo_mpi.distributed.communicator import connect
from ppo_mpi.errors import RankTimeoutError
import numpy as np

comm = connect(hang_timeout_seconds=0.5)
if comm.rank == 1:
    time.sleep(30)
began = time.monotonic()
try:
    CALL
except RankTimeoutError as error:
    print(f"rank {comm.rank}: {time.monotonic() - began:.1f} s: {error}", flush=True)
    time.sleep(0.5)  # the launcher hands the line on
    comm.abort(9)
"""


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("comm.sum(np.ones(3))", "a sum"),
        ("comm.barrier()", "a barrier"),
        ("comm.gather_all(1)", "a sum"),
        ("comm.exchange(1, 1)", "an exchange"),
    ],
)
def test_a_rank_that_never_comes_is_noticed(call: str, what: str, tmp_path: Path):
    done = run_python(2, ["-c", NEVER_COMES.replace("CALL", call)], tmp_path, status=None)
    assert f" s in {what}: another rank hangs" in done.stdout
    assert "raise hang_timeout_seconds if that is expected" in done.stdout
    assert done.returncode != 0


def test_exact_sums_have_the_same_bits_however_the_terms_are_dealt(comm):
    random = np.random.default_rng(3)
    terms = random.standard_normal((2, 5, 1000)) * 10.0 ** random.integers(-12, 12, (2, 5, 1000))
    alone = Communicator().exact_sum(terms)
    own = terms[..., comm.rank :: comm.world_size]  # round robin, not even in order
    assert comm.exact_sum(own).tobytes() == alone.tobytes()
    uneven = terms[..., comm.shard(7).start * 150 : comm.shard(7).stop * 150]
    kept = terms[..., : 7 * 150]
    assert comm.exact_sum(uneven).tobytes() == Communicator().exact_sum(kept).tobytes()
    largest = np.abs(terms).max()
    np.testing.assert_allclose(alone, terms.sum(-1), rtol=0, atol=largest * 1000**2 * 2.0**-52)


def test_exact_sums_of_nothing_and_of_what_is_not_finite(comm):
    assert comm.exact_sum(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(comm.exact_sum(np.array([[np.nan, 1.0]]))).all()


def test_the_largest_of_all_ranks_is_taken_element_by_element(comm: Communicator):
    own = np.array([float(comm.rank), -float(comm.rank), 5.0])
    assert comm.largest(own).tolist() == [comm.world_size - 1, 0.0, 5.0]
    assert own[0] == comm.rank
