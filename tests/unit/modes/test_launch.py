"""Launch: what is asked for is checked before anything starts, and when it gives up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ppo_mpi.cli import parse_command
from ppo_mpi.distributed.launchers import Launcher, parse_hosts
from ppo_mpi.distributed.supervisor import Failure, Supervisor
from ppo_mpi.errors import ConfigError
from ppo_mpi.mode_config import LaunchConfig
from ppo_mpi.modes.launch import Job, answers, hopeless, prepare, supervise

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
        (["train", "--", "x"], "only launch and experiment have them"),
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


class FakeLauncher:
    """In place of mpirun: does one thing for each life, and remembers with which words."""

    def __init__(self, folder: Path, *lives: str) -> None:
        self.log = folder / "lives.log"
        for number, life in enumerate(lives):
            (folder / f"life{number}").write_text(life)
        self.path = folder / "launcher"
        self.path.write_text(
            "#!/bin/bash\n"
            f"printf '%s\\n' \"$*\" >> {self.log}\n"
            f"cd {folder}\n"
            f"source ./life$(($(wc -l < {self.log}) - 1))\n"
        )
        self.path.chmod(0o755)

    def lives(self) -> list[str]:
        return self.log.read_text().splitlines()


def supervised(folder: Path, *lives: str, words: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Return the supervisor's status and the words of each life."""
    launcher = FakeLauncher(folder, *lives)
    here = ["--checkpoint-dir", str(folder), "--run", "r"]
    command = parse_command(["launch", "--", *TRAIN, *here, *words])
    assert command.launched is not None
    job = Job(list(command.words), command.launched.config, Launcher(str(launcher.path), "x"), {})
    config = LaunchConfig(ranks=2, restart_delay=0.01, max_restarts=2)
    return supervise(job, config, Supervisor(5.0)), launcher.lives()


CHECKPOINT = "mkdir -p r/step-00000000{n}600; "


def test_only_what_says_done_is_done(tmp_path: Path):
    """The launcher of a job that lost a host may leave with 0."""
    status, lives = supervised(
        tmp_path, CHECKPOINT.format(n=1001) + "exit 0", "echo 1200 > r/DONE; exit 0"
    )
    assert (status, len(lives)) == (0, 2)
    assert lives[1] == lives[0] + " --clobber=false"


def test_an_earlier_trainings_done_does_not_hide_a_failure(tmp_path: Path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "DONE").write_text("600")
    again = "rm r/DONE; echo 1200 > r/DONE.new; mv r/DONE.new r/DONE; exit 1"
    status, lives = supervised(tmp_path, "exit 9", again, words=("--clobber",))
    assert (status, len(lives)) == (0, 2)


def test_a_finished_run_that_is_left_as_it_is_is_done(tmp_path: Path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "DONE").write_text("600")
    status, lives = supervised(tmp_path, "exit 0")
    assert (status, len(lives)) == (0, 1)


def test_time_that_is_not_up_is_no_end(tmp_path: Path):
    hour = ("--max-seconds", "3600")
    status, lives = supervised(tmp_path, "exit 0", "exit 0", "exit 0", words=hour)
    assert (status, len(lives)) == (1, 3)
    (tmp_path / "lives.log").unlink()
    assert supervised(tmp_path, "sleep 1; exit 0", words=("--max-seconds", "0.5"))[0] == 0


@pytest.mark.parametrize(("code", "status", "lives"), [("2", 2, 1), ("75", 75, 1), ("74", 74, 3)])
def test_what_starting_again_cannot_mend_is_left(code, status, lives, tmp_path: Path):
    told = supervised(tmp_path, *[f"exit {code}"] * 3)
    assert (told[0], len(told[1])) == (status, lives)
