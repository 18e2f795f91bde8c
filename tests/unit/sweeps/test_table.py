"""The table of a search, against numbers worked out by hand."""

from __future__ import annotations

import csv
import json
import math

import pytest
from made_sweeps import GRID, MadeUpCrew, search_of

from ppo_mpi.cli import parse_command
from ppo_mpi.sweeps.figures import best_so_far, draw, limits, positions
from ppo_mpi.sweeps.parameters import Choices
from ppo_mpi.sweeps.rounds import carry_out
from ppo_mpi.sweeps.table import print_table, ranked, row_of, write_tables
from ppo_mpi.sweeps.trials import Books, plan_trials

SCORES = {(0.001, 0): 3.0, (0.001, 1): 5.0, (0.002, 0): 9.0, (0.002, 1): 6.0}
"""(learning rate, seed) -> last mean return."""
TWO = GRID.replace(", 0.003, 0.004", "")


def rows_of(folder, text=TWO, **options):
    search, books = search_of(text), Books(folder)
    trials = plan_trials(search, folder)
    crew = MadeUpCrew(
        books,
        lambda run, share: SCORES[run.config.learning.learning_rate, run.seed] - (share < 1),
        **options,
    )
    carry_out(search, trials, crew, books)
    return search, ranked(search, [row_of(search, trial, books) for trial in trials])


def test_means_errors_and_intervals_are_those_of_two_seeds(tmp_path, capsys):
    search, rows = rows_of(tmp_path)
    files = write_tables(search, rows, {"learning_rate": 1.0}, tmp_path / "assets", "made")
    assert [path.name for path in files] == ["results.csv", "results.md", "results.json"]
    first, second = csv.DictReader(files[0].read_text().splitlines())
    assert (first["rank"], first["trial"], first["learning_rate"]) == ("1", "1", "0.002")
    assert (float(first["mean"]), float(second["mean"])) == (7.5, 4.0)
    # Two values a and b: the error of their mean is |a - b| / 2, Student's t is 12.706.
    assert [float(row["standard_error"]) for row in (first, second)] == pytest.approx([1.5, 1.0])
    assert float(second["low"]) == pytest.approx(4 - 12.706, abs=1e-3)
    assert float(first["high"]) == pytest.approx(7.5 + 1.5 * 12.706, abs=1e-3)
    assert (first["runs"], first["timesteps"], first["status"]) == ("2", "8192", "finished")
    document = json.loads(files[2].read_text())
    assert document["trials"][0]["scores"] == {"0": 9.0, "1": 6.0}
    assert document["importance"] == {"learning_rate": 1.0}
    print_table(search, rows)
    shown = capsys.readouterr().out
    assert "best: python -m ppo_mpi train --env probe:match" in shown
    words = shown.partition("best: python -m ppo_mpi ")[2].split()
    assert parse_command(words).config.learning.learning_rate == 0.002
    text = files[1].read_text()
    assert "| 1 | 1 | 0.002 | 7.5 |" in text
    assert "16,384 timesteps in all" in text


def test_to_minimize_turns_the_order(tmp_path):
    _, rows = rows_of(tmp_path, TWO + "goal: minimize")
    assert [row.trial.number for row in rows] == [0, 1]


def test_one_seed_has_no_interval_and_a_trial_without_all_its_runs_no_rank(tmp_path):
    search, rows = rows_of(tmp_path / "one", TWO.replace("seeds: 2", "seeds: [1]"))
    assert (rows[0].estimate.value, rows[0].estimate.low) == (6.0, None)
    write_tables(search, rows, {}, tmp_path, "one")
    search, rows = rows_of(
        tmp_path / "two", fails=lambda run: run.folder.name.endswith("0.002-seed1")
    )
    failed = rows[-1]
    assert (failed.status, failed.rank, failed.estimate.value) == ("failed", None, 9.0)
    write_tables(search, rows, {}, tmp_path, "two")
    assert "failed: it was made to" in (tmp_path / "results.md").read_text()
    search, trials = search_of(TWO), plan_trials(search_of(TWO), tmp_path / "new")
    row = row_of(search, trials[0], Books(tmp_path / "new"))
    assert (row.status, row.timesteps) == ("new", 0)
    assert math.isnan(row.estimate.value)
    write_tables(search, [row], {}, tmp_path, "new")


def test_the_picture_is_drawn_of_numbers_and_of_words(tmp_path):
    pytest.importorskip("matplotlib")
    search, rows = rows_of(tmp_path)
    files = draw(search, rows, {"learning_rate": 0.5}, tmp_path, "made")
    assert [path.name for path in files] == ["results.png", "results.pdf"]
    assert files[0].read_bytes()[:4] == b"\x89PNG"
    assert draw(search, [], {}, tmp_path, "made") == []
    assert best_so_far([1.0, 3.0, 2.0], maximize=True).tolist() == [1, 3, 3]
    assert best_so_far([2.0, 3.0, 1.0], maximize=False).tolist() == [2, 2, 1]
    assert limits([0.0, 10.0]) == (-4.0, 14.0)
    assert limits([2.0]) == (1.8, 2.2)
    words = Choices("network", (("mlp",), ("nature",)))
    assert positions(words, ["nature", "mlp"]) == ([1.0, 0.0], ["mlp", "nature"])
    assert positions(Choices("x", (("1",), ("2",))), ["2", "1"]) == ([2.0, 1.0], [])
