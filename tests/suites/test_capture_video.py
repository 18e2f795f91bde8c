"""Videos of the training show environment 0, and change nothing that is learned."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from jobs import run_job
from runs import JOBS, assert_same_bits, assert_same_progress, episodes

from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.envs.base import VecEnvs
from ppo_mpi.envs.filmed import FilmedEnvs
from ppo_mpi.modes.filming import episodes_of
from ppo_mpi.storage.film import Film
from ppo_mpi.storage.video import find_ffmpeg
from ppo_mpi.suites import make_envs

ITERATION = 512
EVERY = 3


def frames_of(path: Path, height: int, width: int) -> np.ndarray:
    """Return all frames [T, H, W, 3] uint8 of a video."""
    words = ["-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run([find_ffmpeg(), *words], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def lengths_of_env_0(run_dir: Path) -> list[int]:
    with (run_dir / "episodes.csv").open() as file:
        rows = csv.DictReader(file)
        return [int(r["length"]) for r in rows if (r["split"], r["env"]) == ("train", "0")]


def numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("episode-")) for path in folder.glob("*.mp4"))


@pytest.mark.parametrize(
    ("job", "size", "more"),
    [("CartPole", (400, 600), ["--turns", "2"]), ("starpilot", (512, 512), []),
     ("CartPole", (400, 600), ["--env-workers", "1"])],
)  # fmt: skip
def test_a_filmed_run_is_the_run_without_a_film(
    job: str, size: tuple[int, int], more: list[str], tmp_path: Path
):
    words = ["train", *JOBS[job], "--total-timesteps", str(4 * ITERATION), "--run"]
    run_job(0, *words, "plain", cwd=tmp_path)
    done = run_job(0, *words, "filmed", "--capture-video", str(EVERY), *more, cwd=tmp_path)
    assert "capture_video" not in done.stderr, done.stderr
    plain, filmed = (tmp_path / "checkpoints" / name for name in ("plain", "filmed"))
    assert_same_bits(plain, filmed, ("model", "optimizer", "normalizers"))
    assert_same_progress(plain, filmed)
    assert episodes(plain) == episodes(filmed)
    if job == "CartPole":  # Procgen's engine writes the slot into the state
        assert_same_bits(plain, filmed, ("environments",))
    lengths = lengths_of_env_0(filmed)
    shown = tmp_path / "assets" / "filmed" / "training"
    assert numbers(shown) == list(range(1, len(lengths) + 1, EVERY))
    for number in numbers(shown):
        frames = frames_of(shown / f"episode-{number:06d}.mp4", *size)
        assert len(frames) == lengths[number - 1]  # its beginning, and all steps but the last
        assert np.ptp(frames[0]) > 100
        assert (frames[0] != frames[-1]).any()
    assert [path for path in shown.iterdir() if path.suffix != ".mp4"] == []
    assert not (tmp_path / "assets" / "plain").exists()


def test_procgens_generated_assets_cannot_be_saved_and_are_filmed_all_the_same(tmp_path: Path):
    settings = {"env": "fruitbot", "num_levels": 9, "use_generated_assets": True}
    make = partial(make_envs, with_values(TrainConfig(), settings), seed=1, stream="train")
    plain, filmed = make([0, 1]), FilmedEnvs("procgen", partial(make, [0]), make([1]))
    warnings: list[str] = []
    filmed.film = Film(tmp_path, 2, 0, warnings.append)
    np.testing.assert_array_equal(plain.reset(), filmed.reset())
    random, ends = np.random.default_rng(0), 0
    for _ in range(500):
        actions = random.integers(15, size=2)
        expected, result = plain.step(actions), filmed.step(actions)
        np.testing.assert_array_equal(expected.obs, result.obs)
        np.testing.assert_array_equal(expected.rewards, result.rewards)
        np.testing.assert_array_equal(expected.levels, result.levels)
        ends += int(result.terminated[0])
    filmed.close()
    plain.close()
    assert ends >= 3
    assert numbers(tmp_path) == list(range(1, ends + 1, 2))
    assert warnings == []


def test_a_run_that_goes_on_goes_on_with_its_videos_on_rank_0(tmp_path: Path):
    words = ["train", *JOBS["CartPole"], "--run", "r", "--capture-video", str(EVERY)]
    words += ["--total-timesteps", str(8 * ITERATION)]
    run_job(2, *words, "--max-seconds", "0.001", cwd=tmp_path)
    shown = tmp_path / "assets" / "r" / "training"
    first = len(lengths_of_env_0(tmp_path / "checkpoints" / "r"))
    left_over = shown / ".episode-000099.mp4.killed"
    left_over.mkdir(parents=True)
    run_job(0, *words, "--max-seconds", "0", cwd=tmp_path)
    lengths = lengths_of_env_0(tmp_path / "checkpoints" / "r")
    assert len(lengths) > first + EVERY
    for number in numbers(shown):
        frames = frames_of(shown / f"episode-{number:06d}.mp4", 400, 600)
        assert len(frames) == lengths[number - 1], number
    # One that was under way at the stop is not shown in part: the next one is, as a whole.
    due = set(range(1, len(lengths) + 1, EVERY)) - {first + 1}
    assert due <= set(numbers(shown)) <= due | {first + 2}
    assert not left_over.exists()


def test_a_failing_ffmpeg_costs_the_videos_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho no such codec >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    words = ["train", *JOBS["CartPole"][:-2], "--display", "plain", "--run", "r"]
    words += ["--capture-video", "1", "--total-timesteps", str(2 * ITERATION)]
    done = run_job(0, *words, cwd=tmp_path)
    warnings = [line for line in done.stderr.splitlines() if "capture_video" in line]
    assert len(warnings) == 1, done.stderr
    assert "failed with status 3" in warnings[0]
    assert len(lengths_of_env_0(tmp_path / "checkpoints" / "r")) > 2
    assert list((tmp_path / "assets" / "r" / "training").iterdir()) == []


def filmed_starpilot(film: Film | None) -> FilmedEnvs:
    config = with_values(TrainConfig(), {"env": "starpilot", "num_levels": 3})
    make: partial[VecEnvs] = partial(make_envs, config, seed=1, stream="train")
    envs = FilmedEnvs("procgen", partial(make, [0]), make([1, 2]))
    envs.film = film
    return envs


def test_procgen_is_drawn_in_the_episodes_that_are_shown_only(tmp_path: Path):
    warnings: list[str] = []
    envs = filmed_starpilot(Film(tmp_path, 2, 0, warnings.append))
    plain = filmed_starpilot(None)
    np.testing.assert_array_equal(envs.reset(), plain.reset())
    drawn, number = [True], 0
    rng = np.random.default_rng(0)
    while number < 5:
        actions = rng.integers(15, size=3)
        result, expected = envs.step(actions), plain.step(actions)
        np.testing.assert_array_equal(result.obs, expected.obs)
        np.testing.assert_array_equal(result.rewards, expected.rewards)
        np.testing.assert_array_equal(envs.levels, plain.levels)
        if result.terminated[0]:
            number += 1
            drawn.append(envs.parts[0]._render)  # type: ignore[attr-defined]
    assert drawn == [True, False, True, False, True, False]
    assert envs.get_states() == plain.get_states()
    envs.close(), plain.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"episode-{number:06d}.mp4" for number in (1, 3, 5)
    ]
    assert warnings == []


class Undrawable:
    """A screen on which nothing can be drawn."""

    num = 0

    @classmethod
    def frame(cls) -> np.ndarray:
        cls.num += 1
        raise OSError("no display")


def test_what_cannot_be_drawn_is_told_once(tmp_path: Path):
    told: list[str] = []
    film = Film(tmp_path, 1, 0, told.append)
    for _ in range(3):
        film.begin(Undrawable.frame)
        film.frame(Undrawable.frame)
        film.end(Undrawable.frame, counts=True)
    assert told == ["no more videos of the training (capture_video): no display"]
    assert Undrawable.num == 1
    assert list(tmp_path.iterdir()) == []


def colors(values: Sequence[int]) -> list[np.ndarray]:
    return [np.full((8, 8, 3), value, np.uint8) for value in values]


def test_an_episode_in_which_the_environment_raised_is_not_shown(tmp_path: Path):
    film = Film(tmp_path, 2, 4, pytest.fail)
    (first, second, third, fourth) = colors([0, 80, 160, 240])
    film.begin(lambda: first)
    film.frame(lambda: second)
    film.end(lambda: third, counts=False)  # episode 5 begins once more
    film.frame(lambda: fourth)
    film.end(lambda: first, counts=True)
    assert numbers(tmp_path) == [5]
    frames = frames_of(tmp_path / "episode-000005.mp4", 8, 8)
    assert [round(frame.mean() / 80) * 80 for frame in frames] == [160, 240]
    assert not film.is_running
    film.close()


def test_episodes_are_counted_in_the_file_that_tells_of_them(tmp_path: Path):
    path = tmp_path / "episodes.csv"
    assert episodes_of(0, path) == 0
    path.write_text("iteration,split,env\n1,train,0\n1,train,1\n1,test,0\n2,train,0\n")
    assert episodes_of(0, path) == 2
