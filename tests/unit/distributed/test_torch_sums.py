"""What adds up the gradients: the choice; the sums themselves are tested on several ranks."""

from __future__ import annotations

import pytest

from ppo_mpi.distributed.torch_sums import LOOPBACK, chosen_transport, store_address
from ppo_mpi.errors import ConfigError

CPU = [("a", ""), ("a", ""), ("b", "")]
OWN = [("a", "gpu1"), ("a", "gpu2"), ("b", "gpu1")]
SHARED = [("a", "gpu1"), ("a", "gpu1"), ("b", "gpu1")]


@pytest.mark.parametrize(
    ("asked", "seats", "survives", "expected"),
    [
        ("auto", CPU, False, "mpi"),
        ("auto", OWN, False, "NCCL"),
        ("auto", OWN, True, "mpi"),
        ("auto", SHARED, False, "mpi"),
        ("auto", [OWN[0], CPU[1]], False, "mpi"),
        ("mpi", OWN, False, "mpi"),
        ("torch", OWN, False, "NCCL"),
        ("torch", CPU, False, "Gloo"),
    ],
)
def test_the_choice_is_the_fastest_that_works(asked, seats, survives, expected):
    assert chosen_transport(asked, seats, survives) == expected


def test_what_cannot_be_is_said_with_what_can():
    with pytest.raises(ConfigError, match="GPU for each of the 3 ranks, and there are 2; use"):
        chosen_transport("torch", SHARED, False)
    with pytest.raises(ConfigError, match="on_failure=shrink asks; use transport=mpi"):
        chosen_transport("torch", CPU, True)


def test_the_ranks_of_one_host_need_no_network():
    assert store_address(["a", "a"]) == LOOPBACK
    assert store_address(["a", "b"]) == "a"
