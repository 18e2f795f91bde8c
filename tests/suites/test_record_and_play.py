"""Trained agents are recorded and played from nothing but their run's name."""

from __future__ import annotations

import codecs
import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo_mpi.agent import load_agent
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.modes.evaluate import evaluate_agent
from ppo_mpi.modes.playback import Player, advance
from ppo_mpi.modes.record import record
from ppo_mpi.modes.viewers import ENTER_SCREEN, LEAVE_SCREEN
from ppo_mpi.settings.record import RecordConfig
from ppo_mpi.storage.video import find_ffmpeg

pytest.importorskip("gymnasium")

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("--rollout-timesteps", "32", "--num-minibatches", "2", "--total-timesteps", "32"),
    *("--num-envs", "2", "--seed", "1", "--device", "cpu"),
)
SETTINGS = {  # run -> how it is trained; fruitbot's episodes are short and full of rewards
    "cart": ("CartPole-v1",),
    "parts": ("probe:picture_and_vector",),
    "tuple": ("probe:tuple", "--box-actions", "squash"),
    "fruit": ("fruitbot", "--num-levels", "5", "--network", "nature", "--channel-multiplier", ".1"),
}


def ppo_mpi(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where there is no display."""
    env = {k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "ppo_mpi", *words], cwd=ROOT, env=env, text=True,
        capture_output=True, check=False, timeout=200, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CartPole run and, where procgen is installed, a Procgen run."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for run, settings in SETTINGS.items():
        if run == "fruit":
            with contextlib.suppress(ImportError):
                __import__("procgen")
            if "procgen" not in sys.modules:
                continue
        done = ppo_mpi(
            "train", *settings, *TINY, "--run", run, "--checkpoint-dir", str(folder)
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=list(SETTINGS))
def run(request: pytest.FixtureRequest, runs: Path) -> str:
    if not (runs / request.param).exists():
        pytest.skip("procgen is not installed")
    return request.param


@pytest.fixture
def procgen_run(runs: Path) -> str:
    if not (runs / "fruit").exists():
        pytest.skip("procgen is not installed")
    return "fruit"


def what_ffmpeg_says(path: Path) -> str:
    """Return ffmpeg's description of a file, after decoding all of it."""
    done = subprocess.run(
        [find_ffmpeg(), "-i", str(path), "-f", "null", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr


def frames_in(path: Path) -> int:
    """Return how many frames a video decodes to."""
    return int(re.findall(r"frame= *(\d+)", what_ffmpeg_says(path))[-1])


def test_the_episodes_shown_are_the_very_ones_that_evaluate_counts(run, runs):
    agent = load_agent(run, str(runs), "cpu", "float32")
    evaluated = evaluate_agent(agent, "train", 4, 77, False, 3, Communicator()).episodes
    players = [
        Player(agent, iter(numbers), seed=77, levels="train", hold_steps=2)
        for numbers in ([0, 2], [1, 3])
    ]
    shown = {}
    while not all(player.finished for player in players):
        for view in (player.view for player in players):
            if view.ended:
                shown[view.episode] = (view.level, view.episode_return, view.num_steps)
        advance(agent, players, greedy=False)
    for player in players:
        player.close()
    expected = {e.episode: (e.level, e.episode_return, e.length) for e in evaluated}
    assert shown == expected


def test_a_recorded_procgen_episode_is_an_h264_video_of_the_human_view(procgen_run, runs, tmp_path):
    done = ppo_mpi(
        "record", "--run", procgen_run, "--checkpoint-dir", str(runs), "--asset-dir", str(tmp_path),
        "--seconds", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = tmp_path / "fruit" / "fruit-32.mp4"
    assert f"wrote {path}: 2.0 s (30 frames at 15/s), 512x512" in done.stdout
    assert re.search(r"Video: h264 .*yuv420p.* 512x512.* 15 fps", what_ffmpeg_says(path))
    assert frames_in(path) == 30


def test_a_grid_shows_several_episodes_with_captions_and_the_agents_view(
    procgen_run, runs, tmp_path
):
    agent = load_agent(procgen_run, str(runs), "cpu", "float32")
    config = RecordConfig(
        grid="2x3", seconds=1, size=128, agent_view=True, caption=True, format="both",
        output=str(tmp_path),
    )  # fmt: skip
    mp4, gif = record(agent, config)
    # A caption of 256 columns is one line of 14 rows.
    assert (mp4.width, mp4.height) == (gif.width, gif.height) == (3 * 256, 2 * (128 + 14))
    assert " 768x284" in what_ffmpeg_says(gif.path)
    assert frames_in(mp4.path) == frames_in(gif.path) == 15


def test_a_whole_episode_of_cartpole_is_recorded_with_its_last_picture_held(runs, tmp_path):
    agent = load_agent("cart", str(runs), "cpu", "float32")
    config = RecordConfig(episodes=2, fps=20, size=100, output=str(tmp_path), seed=5)
    (video,) = record(agent, config)
    lengths = [
        e.length for e in evaluate_agent(agent, "train", 2, 5, False, 1, Communicator()).episodes
    ]
    assert video.num_frames == sum(lengths) + 2 * 12
    assert frames_in(video.path) == video.num_frames
    assert (video.height, video.width) == (100, 150)


def test_the_same_seed_gives_the_same_video_and_another_seed_another(runs, tmp_path):
    agent = load_agent("cart", str(runs), "cpu", "float32")
    videos = [
        record(agent, RecordConfig(size=100, output=str(tmp_path), seed=seed))[0]
        for seed in (5, 5, 6)
    ]
    first, again, other = (video.path.read_bytes() for video in videos)
    assert len({video.path for video in videos}) == 3
    assert first == again
    assert first != other


def test_bad_wishes_are_one_line_and_status_2(runs, tmp_path):
    where = ("--checkpoint-dir", str(runs), "--asset-dir", str(tmp_path))
    (tmp_path / "file").touch()
    for words, message in (
        (("record", "--run", "absent"), "absent"),
        (("record", "--run", "cart", "--agent-view"), "leave out --agent-view"),
        (("record", "--run", "cart", "--grid", "4"), "ROWSxCOLUMNS"),
        (("record", "--run", "cart", "--output", str(tmp_path / "file" / "a.mp4")), "cannot write"),
        (("play", "--run", "cart", "--human"), "leave out --human"),
    ):
        done = ppo_mpi(*words, *where)
        assert done.returncode == 2, done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("ppo_mpi: error:")]
        assert len(errors) == 1, done.stderr
        assert message in errors[0]
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.suffix == ".mp4"] == []


def test_play_without_display_and_terminal_writes_a_video_and_says_where(run, runs, tmp_path):
    done = ppo_mpi(
        "play", "--run", run, "--checkpoint-dir", str(runs), "--asset-dir", str(tmp_path),
        "--seconds", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = tmp_path / run / f"{run}-32.mp4"
    assert str(path) in done.stdout
    assert "no display" in done.stderr
    assert frames_in(path) == 15


class OnATerminal:
    """The program on a pseudo-terminal of 40 lines and 100 columns."""

    def __init__(self, *words: str) -> None:
        env = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
        env |= {"OMP_NUM_THREADS": "1", "LINES": "40", "COLUMNS": "100"}
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            command = "stty rows 40 cols 100; exec " + sys.executable + " -m ppo_mpi "
            os.execvpe("sh", ["sh", "-c", command + " ".join(words)], env)
        self.shown = ""
        # Ctrl-C throws away what the terminal has not shown yet, in the midst of a character too.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read_until(self, wanted: str, seconds: float = 90) -> None:
        """Read until a text has been shown; fail if it does not come."""
        deadline = time.monotonic() + seconds
        place = len(self.shown)
        while wanted not in self.shown[place:]:
            assert time.monotonic() < deadline, f"{wanted!r} did not come: {self.shown[-2000:]!r}"
            if not self._read():
                raise AssertionError(f"ended without {wanted!r}: {self.shown[-2000:]!r}")

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def exit_status(self) -> int:
        """Read to the end; return the exit status."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 60)
        assert ready, f"nothing came for a minute: {self.shown[-2000:]!r}"
        try:
            chunk = os.read(self._fd, 65536)
        except OSError:  # the end of a pseudo-terminal on Linux
            return False
        self.shown += self._decoder.decode(chunk)
        return bool(chunk)


def test_play_draws_in_the_terminal_obeys_keys_and_gives_it_back(procgen_run, runs):
    program = OnATerminal(
        "play", "--run", procgen_run, "--checkpoint-dir", str(runs), "--terminal", "--fps", "30"
    )
    program.read_until(ENTER_SCREEN)
    program.read_until("level ")
    program.type(" ")
    program.read_until("paused")
    program.type(" +")
    program.read_until("speed 2")
    program.type("h")
    program.read_until("you play")
    program.type("\x1b[C\x1b[A")
    program.type("q")
    assert program.exit_status() == 0
    frame = program.shown.split("\x1b[H")[1]
    assert frame.count("\u2580") == 64 * 32
    assert LEAVE_SCREEN in program.shown
    assert "\u2580" not in program.shown.partition(LEAVE_SCREEN)[2]


@pytest.mark.parametrize("how", ["\x03", "kill"])
def test_play_gives_the_terminal_back_on_ctrl_c_and_when_it_is_terminated(runs, how):
    program = OnATerminal("play", "--run", "cart", "--checkpoint-dir", str(runs), "--terminal")
    program.read_until("\u2580")
    if how == "kill":
        os.kill(program.pid, 15)
    else:
        program.type(how)
    assert program.exit_status() == 0
    assert LEAVE_SCREEN in program.shown
    assert "Traceback" not in program.shown


def test_play_ends_by_itself_after_its_episodes(runs):
    program = OnATerminal(
        "play", "--run", "cart", "--checkpoint-dir", str(runs), "--terminal", "--fps", "200",
        "--episodes", "2",
    )  # fmt: skip
    assert program.exit_status() == 0
    assert "episodes watched to their end: 2" in program.shown.partition(LEAVE_SCREEN)[2]


def test_a_window_opens_reads_keys_and_closes(procgen_run, runs, tmp_path):
    pytest.importorskip("cv2", reason="opencv cannot be imported", exc_type=ImportError)
    needed = ("Xvfb", "xdotool")
    if missing := [name for name in needed if shutil.which(name) is None]:
        pytest.skip(f"needs a display of its own: {' and '.join(missing)} not installed")
    read, write = os.pipe()
    server = subprocess.Popen(
        # Without -noreset it is out of reach for a moment whenever its last client leaves.
        ["Xvfb", "-displayfd", str(write), "-noreset", "-screen", "0", "800x700x24"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as answer:
        display = ":" + answer.readline().strip()
    env = os.environ | {"DISPLAY": display, "OMP_NUM_THREADS": "1"}
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "ppo_mpi", "play", "--run", procgen_run),
            *("--checkpoint-dir", str(runs), "--asset-dir", str(tmp_path), "--seconds", "60"),
        ],
        cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def xdotool(*words: str) -> str:
        done = subprocess.run(
            ["xdotool", *words], env=env, text=True, capture_output=True, check=False
        )
        return done.stdout.strip()

    def title_with(text: str) -> str:
        deadline = time.monotonic() + 90
        while not (window := xdotool("search", "--name", text)):
            assert time.monotonic() < deadline, f"no window with {text!r} in its title"
            assert program.poll() is None, program.communicate()
            time.sleep(0.2)
        return window.split()[0]

    try:
        window = title_with("fruit.*your turn")
        xdotool("mousemove", "--window", window, "50", "50")
        xdotool("windowfocus", window)
        xdotool("key", "h")
        title_with("fruit.*arrows move")
        xdotool("key", "Right")
        xdotool("key", "q")
        out, err = program.communicate(timeout=30)
        assert program.returncode == 0, err
        assert "watched to" in out
    finally:
        program.kill()
        program.wait()
        server.terminate()
        server.wait()
