"""The run's folder: finding runs and checkpoints, tags, pruning, DONE, the cut of the CSVs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.storage.checkpoint import save_checkpoint
from ppo_mpi.storage.curves import cut_csv
from ppo_mpi.storage.durable import on_root, write_atomically
from ppo_mpi.storage.run_folder import (
    checkpoints_of,
    clean_leftovers,
    clear_done,
    done_timesteps,
    find_run,
    is_done,
    known_runs,
    make_run_dir,
    mark_done,
    prune,
    read_tags,
    run_dir,
    set_tags,
    start_over,
    step_name,
    write_config,
)


def save(folder: Path, timesteps: int, age_seconds: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = save_checkpoint(folder, timesteps, {}, {}, {"timesteps": timesteps}, Communicator())
    written = (path / "manifest.json").stat().st_mtime - age_seconds
    os.utime(path / "manifest.json", (written, written))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, of which maze is the newer, and one without a checkpoint."""
    root = tmp_path / "checkpoints"
    for timesteps in (100, 200, 300):
        save(root / "coinrun", timesteps, age_seconds=1000)
    save(root / "maze", 50)
    (root / "empty").mkdir()
    (root / "README.md").write_text("not a run")
    set_tags(root / "coinrun", ["best"], root / "coinrun" / step_name(200))
    set_tags(root / "coinrun", ["milestone-1"], root / "coinrun" / step_name(100))
    return root


def test_a_name_lies_under_checkpoint_dir_and_a_path_is_a_path(tmp_path: Path) -> None:
    assert run_dir("checkpoints", "", "coinrun") == Path("checkpoints/coinrun")
    assert run_dir("checkpoints", "mine", "coinrun") == Path("checkpoints/mine")
    assert run_dir("checkpoints", "checkpoints/mine", "coinrun") == Path("checkpoints/mine")
    assert run_dir("checkpoints", f"{tmp_path}/x", "coinrun") == tmp_path / "x"
    assert run_dir("checkpoints", "~/x", "coinrun") == Path.home() / "x"
    with pytest.raises(ConfigError, match="names a checkpoint, not a run; use --run runs/mine"):
        run_dir("checkpoints", "runs/mine/step-000000000100", "coinrun")


def test_every_form_of_run_is_found(runs: Path, monkeypatch) -> None:
    coinrun = runs / "coinrun"
    assert find_run("", runs) == (runs / "maze", None)
    assert find_run("coinrun", runs) == (coinrun, None)
    assert find_run(str(coinrun), "elsewhere") == (coinrun, None)
    step = coinrun / step_name(200)
    assert find_run(str(step), "elsewhere") == (coinrun, step)
    assert find_run("coinrun:best", runs) == (coinrun, step)
    assert find_run("coinrun:milestone-1", runs) == (coinrun, coinrun / step_name(100))
    assert find_run("coinrun:300", runs) == (coinrun, coinrun / step_name(300))
    assert find_run(f"{coinrun}:best", "elsewhere") == (coinrun, step)
    monkeypatch.chdir(runs.parent)
    assert find_run("checkpoints/coinrun", "checkpoints") == (Path("checkpoints/coinrun"), None)
    assert find_run("checkpoints/coinrun/", "checkpoints") == (Path("checkpoints/coinrun"), None)


def test_the_newest_run_is_the_one_that_was_saved_last(runs: Path) -> None:
    save(runs / "coinrun", 400, age_seconds=-1)
    assert find_run("", runs)[0] == runs / "coinrun"
    assert set(known_runs(runs)) == {"coinrun", "maze"}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("coinrum", "unknown run 'coinrum'; did you mean coinrun.*train one with"),
        ("zzz", "unknown run 'zzz'; known: coinrun, maze"),
        ("coinrun:worst", "no checkpoint 'worst'; known: best, milestone-1, 300, 200, 100"),
        ("coinrun:150", "no checkpoint '150'; known"),
        ("empty", "has no checkpoint yet; train one with: python -m ppo_mpi train"),
        ("coinrum:best", "unknown run 'coinrum:best'; did you mean coinrun"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_what_is(
    runs: Path, run: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        find_run(run, runs)


def test_no_run_at_all_is_an_error_that_says_how_to_train(tmp_path: Path) -> None:
    for run in ("", "coinrun"):
        with pytest.raises(CheckpointError, match="train one with: python -m ppo_mpi train"):
            find_run(run, tmp_path / "none")


def test_checkpoints_are_ordered_by_timesteps_and_other_folders_are_none(tmp_path: Path) -> None:
    names = [step_name(n) for n in (9, 10**12, 80)]
    for name in [*names, "step-12", ".tmp-" + names[0], "unreadable-" + names[0]]:
        (tmp_path / name).mkdir()
    (tmp_path / step_name(99)).write_text("a file")
    assert [p.name for p in checkpoints_of(tmp_path)] == [names[1], names[2], names[0]]


def test_pruning_keeps_the_newest_and_the_tagged(runs: Path) -> None:
    coinrun = runs / "coinrun"
    for timesteps in (400, 500, 600):
        save(coinrun, timesteps)
    removed = prune(coinrun, keep=2)
    assert [p.name for p in removed] == [step_name(400), step_name(300)]
    left = [step_name(n) for n in (600, 500, 200, 100)]
    assert [p.name for p in checkpoints_of(coinrun)] == left
    set_tags(coinrun, ["best"], coinrun / step_name(600))
    assert [p.name for p in prune(coinrun, keep=2)] == [step_name(200)]
    assert sorted(p.name for p in coinrun.iterdir()) == sorted(
        [step_name(100), step_name(500), step_name(600), "tags.json", "NEWEST"]
    )


def test_damaged_tags_are_an_error_and_nothing_is_pruned(runs: Path) -> None:
    (runs / "coinrun" / "tags.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tags\.json cannot be read as JSON .*remove it"):
        prune(runs / "coinrun", keep=1)
    assert len(checkpoints_of(runs / "coinrun")) == 3
    (runs / "coinrun" / "tags.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="not an object of strings"):
        read_tags(runs / "coinrun")


def test_done_says_with_how_many_timesteps(tmp_path: Path) -> None:
    assert not is_done(tmp_path)
    assert done_timesteps(tmp_path) is None
    mark_done(tmp_path, 4096)
    assert is_done(tmp_path)
    assert done_timesteps(tmp_path) == 4096
    clear_done(tmp_path)
    clear_done(tmp_path)
    assert not is_done(tmp_path)


def test_starting_over_removes_what_the_run_wrote_and_nothing_else(runs: Path) -> None:
    coinrun = runs / "coinrun"
    write_config(coinrun, "seed: 1\n")
    mark_done(coinrun, 300)
    (coinrun / "progress.csv").write_text("iteration\n")
    (coinrun / "tensorboard").mkdir()
    (coinrun / "notes.txt").write_text("mine")
    start_over(coinrun)
    assert [p.name for p in coinrun.iterdir()] == ["notes.txt"]


def test_cleaning_a_folder_that_does_not_exist_is_no_error(tmp_path: Path) -> None:
    clean_leftovers(tmp_path / "none")
    start_over(tmp_path / "none")


def test_a_folder_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write to .*file/run .*--checkpoint-dir"):
        make_run_dir(tmp_path / "file" / "run")
    with pytest.raises(ConfigError, match=r"cannot write to .*file "):
        make_run_dir(tmp_path / "file")
    make_run_dir(tmp_path / "new" / "run")
    make_run_dir(tmp_path / "new" / "run")
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_an_atomic_write_that_fails_keeps_the_old_content(tmp_path: Path, monkeypatch) -> None:
    write_config(tmp_path, "seed: 1\n")

    def broken_fsync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken_fsync)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "config.yaml", b"seed: 2\n")
    assert (tmp_path / "config.yaml").read_text() == "seed: 1\n"
    monkeypatch.undo()
    clean_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_the_cut_removes_later_rows_and_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    path.write_bytes(b"iteration,loss\n1,0.5\n2,0.25\n10,0.1\n11,0.")
    cut_csv(path, 10)
    assert path.read_bytes() == b"iteration,loss\n1,0.5\n2,0.25\n10,0.1\n"
    cut_csv(path, 2)
    assert path.read_bytes() == b"iteration,loss\n1,0.5\n2,0.25\n"
    cut_csv(path, 0)
    assert path.read_bytes() == b"iteration,loss\n"
    path.write_bytes(b"iterat")
    cut_csv(path, 3)
    assert path.read_bytes() == b""
    assert [p.name for p in tmp_path.iterdir()] == ["progress.csv"]


def test_a_csv_with_nothing_to_cut_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    cut_csv(path, 3)
    assert not path.exists()
    path.write_bytes(b"iteration,loss\n1,0.5\n3,0.25\n")
    before = path.stat()
    cut_csv(path, 3)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_one_process_gets_its_own_error_and_result_from_on_root() -> None:
    def fail() -> None:
        raise ZeroDivisionError("mine")

    assert on_root(Communicator(), lambda: 3) == 3
    with pytest.raises(ZeroDivisionError, match="mine"):
        on_root(Communicator(), fail)
