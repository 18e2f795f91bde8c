"""Launch: what is asked for is checked before anything starts, and when it gives up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.distributed.launchers import Launcher, parse_hosts
from ppo_mpi.distributed.supervisor import Failure
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import LaunchConfig
from ppo_mpi.modes.launch import Job, answers, hopeless, prepare

TRAIN = ["train", "CartPole-v1", "--num-envs", "6", "--rollout-timesteps", "600"]


def test_what_stands_behind_the_dashes_is_checked_and_kept_as_it_was_typed():
    command = parse_command(["launch", "--ranks", "3", "--", *TRAIN])
    assert command.config.ranks == 3
    assert command.words == tuple(TRAIN)
    assert command.launched is not None
    assert command.launched.config.environment.num_envs == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launch", "--ranks", "3"], "launch needs the words of train behind --"),
        (["launch", "--", "evaluate"], "launch starts train only"),
        (["launch", "--", "train", "--dry-run"], "its own --dry-run stands before --"),
        (["launch", "--", "train", "--sed", "1"], "sed"),
        (["launch", "--rank", "1", "--", "train"], "rank"),
        (["launch", "--min-ranks", "0", "--", "train"], "min_ranks=0 is too small"),
        (["train", "--", "x"], "only launch has them"),
    ],
)
def test_other_words_are_refused(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        parse_command(words)


def job(hosts: str = "") -> Job:
    command = parse_command(["launch", "--", *TRAIN])
    assert command.launched is not None
    return Job(TRAIN, command.launched.config, Launcher("L", "MPICH"), parse_hosts(hosts))


def test_there_are_never_more_ranks_than_environments_or_places():
    assert prepare(job(), LaunchConfig(ranks=4))[2] == 4
    assert prepare(job(), LaunchConfig(ranks=40))[2] == 6
    config = LaunchConfig(host_check="true {host}")
    command, _, ranks = prepare(job("a:2,b:1"), config)
    assert ranks == 3
    assert command[:5] == ["L", "-n", "3", "-hosts", "a:2,b:1"]


def test_a_host_that_does_not_answer_is_left_out_and_that_is_said(capsys):
    config = LaunchConfig(host_check="test {host} != b")
    command, _, ranks = prepare(job("a:2,b:3,c:1"), config)
    assert ranks == 3
    assert "a:2,c:1" in command
    assert "without b: no answer" in capsys.readouterr().err


def test_too_few_ranks_are_an_error_with_the_remedy(capsys):
    config = LaunchConfig(host_check="false {host}", min_ranks=2)
    with pytest.raises(ConfigError, match=r"0 rank\(s\) are left, fewer than min_ranks=2"):
        prepare(job("a:2"), config)


def test_a_check_that_cannot_be_run_is_no_answer():
    assert answers("a", "true {host}")
    assert not answers("a", "a-program-that-is-not-there {host}")


def test_it_gives_up_after_the_restarts_and_after_the_same_failure_twice():
    config = LaunchConfig(max_restarts=2)
    failure = Failure("", 3, "KeyError")
    assert not hopeless(failure, None, 0, config)
    assert not hopeless(failure, Failure("", 3, ""), 1, config)
    assert "twice at the same place" in hopeless(failure, failure, 1, config)
    assert "2 restart(s) brought no further checkpoint" in hopeless(failure, None, 2, config)


def test_the_command_can_be_shown_without_running_it(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "ppo_mpi", "launch", "--ranks", "2", "--dry-run", "--", *TRAIN],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mpirun" in done.stdout
    assert done.stdout.rstrip().endswith(" ".join(["-m ppo_mpi", *TRAIN]))
    assert list(tmp_path.iterdir()) == []
