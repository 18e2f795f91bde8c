"""Several games, listed levels, corruption, other games to test in: no rank or stop changes it."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import run_job
from runs import (
    COMMON,
    ITERATION,
    assert_near,
    assert_same_bits,
    assert_same_progress,
    episodes,
    newest,
    progress,
    seldom,
)

pytest.importorskip("procgen")

LISTED = ["3", "17", "99"]
JOB = [
    "starpilot,fruitbot", "--channel-multiplier", "0.5", "--feature-size", "64",
    "--level-seeds", ",".join(LISTED), "--num-test-envs", "3", "--test-env", "bigfish,leaper",
    "--corruption", "impulse_noise", "--corruption-severity", "2",
    "--eval-every", "2", "--eval-episodes", "4", *COMMON,
]  # fmt: skip
TOTAL = ["--total-timesteps", str(4 * ITERATION)]


@pytest.fixture(scope="module")
def run_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a function that trains the job at once: number of ranks -> its run."""
    folder = tmp_path_factory.mktemp("several")

    @functools.cache
    def train(ranks: int) -> Path:
        run_job(ranks, "train", *JOB, *TOTAL, "--run", f"r{ranks}", cwd=folder)
        return folder / "checkpoints" / f"r{ranks}"

    return train


@pytest.mark.parametrize("ranks", [seldom(2), 3])
def test_the_number_of_ranks_does_not_change_the_result(run_on: Callable[[int], Path], ranks: int):
    one, other = run_on(1), run_on(ranks)
    assert_same_bits(one, other, ("model", "optimizer"))
    assert_near(one, other, "normalizers", relative=1e-12)
    assert episodes(one) == episodes(other)
    assert_same_progress(one, other)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    run_on: Callable[[int], Path], tmp_path: Path
):
    for ranks, rest in ((1, ["--max-seconds", "0.001"]), (2, ["--max-seconds", "0"])):
        run_job(ranks, "train", *JOB, *TOTAL, *rest, "--run", "r", cwd=tmp_path)
    run_dir, whole = tmp_path / "checkpoints" / "r", run_on(1)
    assert_same_bits(run_dir, whole, ("model", "optimizer"))
    assert_same_progress(run_dir, whole)
    assert episodes(run_dir) == episodes(whole)
    one, two = (json.loads((newest(r) / "state.json").read_text()) for r in (run_dir, whole))
    assert one["logger"]["games"] == two["logger"]["games"]
    assert one["train_episodes"] == two["train_episodes"]


def test_episodes_tell_their_game_and_columns_are_means_of_them(run_on: Callable[[int], Path]):
    rows = list(csv.DictReader(episodes(run_on(1)).splitlines()))
    games = {split: {r["game"] for r in rows if r["split"] == split} for split in ("train", "test")}
    assert games == {"train": {"starpilot", "fruitbot"}, "test": {"bigfish", "leaper"}}
    assert {row["level"] for row in rows if row["split"] == "train"} == set(LISTED)
    assert not {row["level"] for row in rows if row["split"] == "test"} & set(LISTED)
    for row in rows:
        own = ("starpilot", "fruitbot") if row["split"] == "train" else ("bigfish", "leaper")
        assert row["game"] == own[int(row["env"]) % 2]
    last = progress(run_on(1))[-1]
    for game, low, high in (("starpilot", 2.5, 64), ("fruitbot", -1.5, 32.4)):
        returns = [float(r["return"]) for r in rows if r["game"] == game]
        assert int(float(last[f"episodes_of_{game}"])) == len(returns)
        mean = sum(returns[-100:]) / len(returns[-100:])
        assert float(last[f"return_of_{game}"]) == pytest.approx(mean)
        assert float(last[f"score_of_{game}"]) == pytest.approx((mean - low) / (high - low))
    assert last["test_return_of_bigfish"]
    assert last["eval_mean_return"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["coinrun,CartPole-v1"], "is of the suites procgen and gym"),
        (["atari:Pong,Breakout", "--num-envs", "2"], "has other actions than atari:Pong"),
        (["coinrun,maze", "--num-envs", "1"], "num_envs=1 is fewer than the 2 environments"),
        (["coinrun,"], "has an empty name"),
        (["coinrun", "--test-env", "maze"], "num_test_envs=0 environments are tested in"),
        (["coinrun", "--test-env", "CartPole-v1", "--num-test-envs", "2"],
         "test_env=gym:CartPole-v1 has other observations than procgen:coinrun"),
        (["coinrun", "--level-seeds", "-1"], "level_seeds has the level -1"),
        (["coinrun", "--level-seeds", "@nowhere.txt"], "cannot read nowhere.txt"),
        (["coinrun", "--level-seeds", "3,4", "--num-levels", "5"], "use num_levels=0"),
        (["coinrun", "--level-seeds", "3", "--use-sequential-levels", "true"], "leave it out"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_any_work(words: list[str], message: str, tmp_path: Path):
    if words[0].startswith("atari"):
        pytest.importorskip("ale_py")
    done = run_job(1, "train", *words, "--run", "r", cwd=tmp_path, status=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "checkpoints").exists()
