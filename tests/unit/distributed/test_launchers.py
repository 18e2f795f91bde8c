"""What each launcher is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppo_mpi.distributed.launchers import Launcher, dealt, find_launcher, parse_hosts
from ppo_mpi.errors import ConfigError

PROGRAM = ["python", "-m", "ppo_mpi", "train"]


@pytest.mark.parametrize(
    ("kind", "hosts", "fault_tolerant", "expected"),
    [
        ("MPICH", {}, False, "L -n 3"),
        ("MPICH", {"a": 2, "b": 1}, False, "L -n 3 -hosts a:2,b:1"),
        ("Open MPI", {}, False, "L -n 3 --bind-to none"),
        ("Open MPI", {"a": 3}, True, "L -n 3 --bind-to none --with-ft ulfm --host a:3"),
        ("srun", {}, False, "L -n 3 --kill-on-bad-exit=1"),
        ("srun", {"a": 2, "b": 1}, False, "L -n 3 --kill-on-bad-exit=1 --nodelist a,b --nodes 2"),
        ("other", {}, True, "L -n 3"),
    ],
)
def test_each_launcher_is_spoken_to_in_its_own_words(kind, hosts, fault_tolerant, expected):
    command = Launcher("L", kind).command(3, hosts, "", fault_tolerant, PROGRAM)
    assert " ".join(command) == f"{expected} {' '.join(PROGRAM)}"


def test_the_users_words_come_behind_ours_and_are_split_like_a_shells():
    command = Launcher("L", "MPICH").command(1, {}, "-env A 'b c'", False, PROGRAM)
    assert command == ["L", "-n", "1", "-env", "A", "b c", *PROGRAM]


def test_the_kind_of_a_launcher_is_told_by_what_it_says_of_itself(tmp_path: Path):
    for text, kind in (("HYDRA build details", "MPICH"), ("mpirun (Open MPI) 5.0", "Open MPI"),
                       ("mpirun 1", "other")):  # fmt: skip
        program = tmp_path / "mpirun"
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o755)
        assert find_launcher(str(program)) == Launcher(str(program), kind)


def test_a_launcher_that_is_not_there_is_an_error_with_the_remedy():
    with pytest.raises(ConfigError, match="there is no launcher nothing-like-it; pip install"):
        find_launcher("nothing-like-it")


def test_hosts_have_places():
    assert parse_hosts("") == {}
    assert parse_hosts("a:4, b") == {"a": 4, "b": 1}
    assert dealt(5, {"a": 4, "b": 4}) == {"a": 4, "b": 1}
    assert dealt(3, {"a": 4, "b": 4}) == {"a": 3}


@pytest.mark.parametrize("text", ["a:0", "a:x", ":4", "a:1,a:2"])
def test_hosts_of_another_form_are_refused(text: str):
    with pytest.raises(ConfigError, match="is not HOST:RANKS"):
        parse_hosts(text)
