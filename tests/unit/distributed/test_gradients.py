"""All gradients in one buffer: packing, averaging, clipping, and sums that keep their bits."""

from __future__ import annotations

import copy
import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from ppo_mpi.distributed.device_gradients import DeviceGradients
from ppo_mpi.distributed.gradients import ExactGradients, FlatGradients


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    return nn.Sequential(convolution, nn.Flatten(), nn.Linear(16, 2))


def images(count: int) -> torch.Tensor:
    x = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return x.to(memory_format=torch.channels_last)


def test_parameters_gradients_are_views_of_the_buffer_and_stay_so():
    model = make_model()
    gradients = FlatGradients(model, ("a",))
    expected = copy.deepcopy(model)
    for p in expected.parameters():
        p.grad = None
    model(images(5)).square().sum().backward()
    expected(images(5)).square().sum().backward()
    start = gradients.buffer.data_ptr()
    end = start + 4 * gradients.num_gradients
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(p.grad, q.grad)
        assert start <= p.grad.data_ptr() < end
        assert p.grad.stride() == p.stride()
    total = sum(float(q.grad.sum()) for q in expected.parameters() if q.grad is not None)
    assert float(gradients.gradients.sum()) == pytest.approx(total, rel=1e-4)


def test_backward_passes_add_up_until_zeroed():
    model = make_model()
    gradients = FlatGradients(model, ("a",))
    model(images(5)).sum().backward()
    once = gradients.gradients.clone()
    model(images(5)).sum().backward()
    torch.testing.assert_close(gradients.gradients, 2 * once)
    gradients.add_statistics(torch.tensor([3.0]), 5)
    gradients.zero()
    assert not gradients.buffer.any()


def test_dividing_makes_means_of_gradients_and_statistics():
    gradients = FlatGradients(nn.Linear(1, 1), ("loss", "kl"))
    gradients.gradients[:] = torch.tensor([8.0, -4.0])
    gradients.add_statistics(torch.tensor([1.0, 10.0]), 1)
    gradients.add_statistics(torch.tensor([2.0, 30.0]), 3)
    gradients.vote_to_stop(True)
    assert gradients.message().tolist() == [8, -4, 3, 40, 1, 4]
    assert gradients.votes_to_stop() == 1
    assert gradients.divide() == {"loss": 0.75, "kl": 10.0, "num_samples": 4.0}
    assert gradients.gradients.tolist() == [2.0, -1.0]


def test_parameters_that_are_not_trained_are_left_out():
    model = make_model()
    model[0].weight.requires_grad_(False)
    gradients = FlatGradients(model, ())
    assert gradients.num_gradients == 4 + 16 * 2 + 2
    assert model[0].weight.grad is None


@pytest.mark.parametrize(
    ("max_norm", "expected"), [(10.0, [3, 4]), (5.0, [3, 4]), (1.0, [0.6, 0.8]), (0.0, [3, 4])]
)
def test_the_gradient_is_scaled_down_to_the_largest_norm(max_norm, expected):
    gradients = FlatGradients(nn.Linear(1, 1), ())
    gradients.gradients[:] = torch.tensor([3.0, 4.0])
    assert gradients.clip_norm(max_norm) == 5.0
    assert gradients.gradients.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_clip_is_torchs():
    model = make_model()
    gradients = FlatGradients(model, ())
    model(images(5)).square().sum().backward()
    expected = copy.deepcopy(model)
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        assert p.grad is not None
        q.grad = p.grad.clone()
    norm = nn.utils.clip_grad_norm_(expected.parameters(), 0.5)
    assert gradients.clip_norm(0.5) == pytest.approx(norm.item(), rel=1e-5)
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def terms(count: int, size: int = 40) -> torch.Tensor:
    """Return terms [count, size] whose float32 sum depends on their order."""
    generator = torch.Generator().manual_seed(count)
    scales = 10.0 ** torch.randint(-6, 4, (count, size), generator=generator)
    return torch.randn(count, size, generator=generator) * scales


def exact(rows: list[torch.Tensor], model: nn.Module) -> ExactGradients:
    gradients = ExactGradients(model, ("a", "b"))
    for row in rows:
        gradients.add_term([row[:-1].view(1, -1), row[-1:]], row[:2].float(), 1)
    return gradients


def test_sums_have_the_same_bits_in_any_order_and_any_partition():
    rows, model = list(terms(24)), nn.Linear(39, 1)
    expected = exact(rows, model)
    statistics = expected.divide()
    random = torch.Generator().manual_seed(0)
    for num_ranks in (1, 2, 3, 5, 24):
        order = torch.randperm(24, generator=random).tolist()
        ranks = [exact([rows[i] for i in order[r::num_ranks]], model) for r in range(num_ranks)]
        gradients = ranks[0]
        for rank in ranks[1:]:
            gradients.message().add_(rank.message())
        assert gradients.divide() == statistics
        assert torch.equal(gradients.gradients, expected.gradients)


def test_plain_sums_do_not_keep_their_bits():
    rows = terms(24)
    sums = {tuple(sum(rows[i] for i in order).tolist()) for order in itertools.islice(
        itertools.permutations(range(24)), 0, 2000, 97)}  # fmt: skip
    assert len(sums) > 1, "the terms are too tame to show anything"


def test_exact_sums_are_right_to_float32():
    rows = list(terms(24))
    gradients = exact(rows, nn.Linear(39, 1))
    gradients.divide()
    for i, found in enumerate(gradients.gradients.tolist()):
        total = sum(Fraction(row[i].item()) for row in rows) / 24
        assert found == pytest.approx(float(total), rel=1e-7, abs=2.0**-63)


def test_exact_sums_take_a_missing_gradient_as_zeros():
    model = nn.Linear(2, 1)
    gradients = ExactGradients(model, ())
    gradients.add_term([None, torch.ones(1)], torch.zeros(0), 2)
    gradients.add_term([torch.tensor([[4.0, 8.0]]), None], torch.zeros(0), 2)
    gradients.divide()
    assert gradients.gradients.tolist() == [1.0, 2.0, 0.25]


def test_exact_sums_lay_weights_out_as_the_parameters_are():
    model = make_model()
    (loss := model(images(3)).square().sum()).backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert math.isfinite(loss.item())
    gradients = ExactGradients(model, ())
    gradients.add_term(expected, torch.zeros(0), 1)
    gradients.divide()
    for p, q in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, q)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_exact_sums_do_not_hide_what_is_not_finite(poison):
    gradients = ExactGradients(nn.Linear(2, 1), ())
    gradients.add_term([torch.tensor([[poison, 1.0]]), torch.ones(1)], torch.zeros(0), 1)
    gradients.divide()
    assert not math.isfinite(float(gradients.gradients.sum()))


def test_zeroed_exact_sums_begin_anew():
    gradients = ExactGradients(nn.Linear(1, 1), ("a",))
    for _ in range(2):
        gradients.zero()
        gradients.add_term([torch.ones(1, 1), torch.ones(1)], torch.ones(1), 4)
        assert gradients.divide() == {"a": 0.25, "num_samples": 4.0}
        assert gradients.gradients.tolist() == [0.25, 0.25]


def test_exact_sums_keep_terms_below_the_coarse_quantum():
    gradients = ExactGradients(nn.Linear(1, 1), ())
    for _ in range(3):
        gradients.add_term([torch.full((1, 1), 1e-9), torch.full((1,), 3e-12)], torch.zeros(0), 1)
    gradients.divide()
    assert gradients.gradients.tolist() == pytest.approx([1e-9, 3e-12], rel=1e-6)


@pytest.mark.parametrize("kind", [FlatGradients, ExactGradients, DeviceGradients])
@pytest.mark.parametrize("max_norm", [0.5, 3.0, 0.0])
def test_parts_are_clipped_each_by_itself(kind, max_norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    apart = {"1.weight", "1.bias"}
    gradients = kind(model, ("loss",), apart)
    # One part is long, the other short: 2 is between them.
    lengths = {name: (4.0 if name in apart else 1.0) for name in gradients.names}
    own = [torch.randn_like(p) * lengths[n] for n, p in model.named_parameters()]
    gradients.zero()
    gradients.add_term(own, torch.zeros(1), 1)
    if kind is DeviceGradients:
        gradients.average(1, 0)
    else:
        gradients.divide()
    row = {"gradient_norm": gradients.clip_norm(max_norm)}
    expected = [x.clone() for x in own]
    for which in (True, False):
        part = [x for x, name in zip(expected, gradients.names, strict=True)
                if (name in apart) is which]  # fmt: skip
        norm = math.sqrt(sum(float((x**2).sum()) for x in part))
        if 0 < max_norm < norm:
            for x in part:
                x *= max_norm / norm
    for parameter, other in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, other, rtol=1e-4, atol=1e-6)
    whole = math.sqrt(sum(float((x**2).sum()) for x in own))
    if kind is DeviceGradients:
        row = gradients.read([row])[0]
    assert row["gradient_norm"] == pytest.approx(whole, rel=1e-5)
