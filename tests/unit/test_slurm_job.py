"""What launch/slurm_job.sh makes of the end of a life; a real Slurm runs it in tests/cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "slurm_job.sh"
# In place of Slurm: srun does what the test says, scontrol writes down what it is asked.
STUBS = {
    "srun": 'echo "$@" >> srun.log\nsource ./life',
    "scontrol": 'echo "$@" >> scontrol.log\nsource ./slurm 2> /dev/null || true',
}
RUN = f'export JOB_SHELL=$$; source {SCRIPT}; run_training "$@"'
WORDS = ["CartPole-v1", "--run", "r"]


class Life:
    """One life of a job, run at once."""

    def __init__(self, folder: Path, life: str, *words: str, **environ: str) -> None:
        for name, text in STUBS.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(0o755)
        (folder / "life").write_text(life)
        (folder / "checkpoints" / "r").mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        python = Path(sys.executable).parent
        slurm = {
            "SLURM_JOB_ID": "41",
            "SLURM_NTASKS": "2",
            "SLURM_JOB_NODELIST": "h",
            "SLURM_MPI_TYPE": "pmi2",
            "PATH": f"{folder}/bin:{python}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["bash", "-c", RUN, "job", *WORDS, *words],
            cwd=folder, env=kept | slurm | environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.status, self.output = done.returncode, done.stdout + done.stderr
        self.asked = read(folder / "scontrol.log")
        self.started = read(folder / "srun.log")


def read(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_life_that_did_not_finish_queues_again_and_one_that_did_does_not(tmp_path: Path):
    life = Life(tmp_path, "exit 75")
    assert (life.status, life.asked) == (75, ["requeue 41"])
    assert "-K1 --mpi=pmi2 --cpus-per-task=1 --cpu-bind=cores" in life.started[0]
    life = Life(tmp_path, "echo 1 > checkpoints/r/DONE")
    assert (life.status, life.asked) == (0, ["requeue 41"])
    assert "done: " in life.output


def test_one_task_of_an_array_queues_alone(tmp_path: Path):
    array = {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "3"}
    assert Life(tmp_path, "exit 75", **array).asked == ["requeue 41_3"]


def test_only_the_first_life_may_start_over(tmp_path: Path):
    Life(tmp_path, "exit 75", "--clobber")
    life = Life(tmp_path, "exit 75", "--clobber", SLURM_RESTART_COUNT="1")
    assert [line.endswith("--clobber") for line in life.started] == [True, False]
    assert life.started[1].endswith("--clobber --clobber=false")


def test_the_done_of_an_earlier_training_is_none(tmp_path: Path):
    (tmp_path / "checkpoints" / "r").mkdir(parents=True)
    (tmp_path / "checkpoints" / "r" / "DONE").write_text("1")
    assert Life(tmp_path, "exit 1").asked == ["requeue 41"]
    assert Life(tmp_path, "exit 2").status == 2
    assert "done: " in Life(tmp_path, "exit 0").output


def test_words_that_cannot_be_are_not_queued_again(tmp_path: Path):
    life = Life(tmp_path, "exit 2")
    assert (life.status, life.asked) == (2, [])


@pytest.mark.parametrize(("status", "lives"), [(1, 1), (75, 4)])
def test_it_gives_up_when_lives_bring_no_checkpoint(status: int, lives: int, tmp_path: Path):
    limit = {"MAX_LIVES_WITHOUT_PROGRESS": "1"}
    for number in range(lives - 1):
        assert Life(tmp_path, f"exit {status}", **limit).status == status, number
    life = Life(tmp_path, f"exit {status}", **limit)
    assert life.status == 1
    assert f"giving up: {lives} lives brought no further checkpoint" in life.output
    assert len(life.asked) == lives - 1


def test_a_checkpoint_begins_the_count_anew(tmp_path: Path):
    for number in range(4):
        life = f"mkdir -p checkpoints/r/step-00000000000{number}; exit 1"
        assert Life(tmp_path, life).status == 1
    assert "giving up" not in Life(tmp_path, "exit 1").output


def test_a_slurm_that_refuses_is_an_error(tmp_path: Path):
    (tmp_path / "slurm").write_text("exit 1")
    life = Life(tmp_path, "exit 0")
    assert life.status == 1
    assert "Slurm does not queue it again: submit the same line, it goes on" in life.output


def test_what_was_cancelled_is_not_queued_again_but_what_was_warned_is(tmp_path: Path):
    life = Life(tmp_path, "kill -TERM $JOB_SHELL; sleep 0.3; exit 143")
    assert (life.status, life.asked) == (143, [])
    assert "cancelled: not queued again" in life.output
    warned = "kill -USR1 $JOB_SHELL; sleep 0.3; kill -TERM $JOB_SHELL; exit 75"
    assert Life(tmp_path, warned).asked == ["requeue 41"]
