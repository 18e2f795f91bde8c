"""Videos are what a browser plays, and a failing ffmpeg is reported with its own words.

ffmpeg itself is asked what is in a file; ffprobe is not part of the bundled one.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ppo_mpi.errors import ConfigError, MissingPackageError, VideoError
from ppo_mpi.storage import video
from ppo_mpi.storage.video import VideoWriter, find_ffmpeg, free_path


def moving_square(num_frames: int, height: int, width: int) -> list[np.ndarray]:
    """Return frames in which a red square moves over green."""
    frames = []
    for number in range(num_frames):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:] = (20, 160, 40)
        frame[8:24, number : number + 16] = (220, 30, 30)
        frames.append(frame)
    return frames


def write(path: Path, frames: list[np.ndarray], fps: int, video_format: str) -> video.Video:
    with VideoWriter(path, fps, video_format) as writer:
        for frame in frames:
            writer.write(frame)
        return writer.finish()


def what_ffmpeg_says(path: Path) -> str:
    """Return ffmpeg's description of a file, after decoding all of it."""
    done = subprocess.run(
        [find_ffmpeg(), "-i", str(path), "-f", "null", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr


def decode(path: Path, height: int, width: int) -> np.ndarray:
    """Return all frames [T, H, W, 3] uint8 of a video."""
    done = subprocess.run(
        [find_ffmpeg(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-vsync", "0", "-"],
        capture_output=True, check=True,
    )  # fmt: skip
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def program(path: Path, text: str) -> Path:
    """Write a shell script that can be run."""
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_an_mp4_is_h264_in_yuv420p_with_all_frames_and_their_size(tmp_path):
    written = write(tmp_path / "new" / "a.mp4", moving_square(30, 64, 96), 15, "mp4")
    said = what_ffmpeg_says(written.path)
    assert re.search(r"Video: h264 .*yuv420p.*bt709.* 96x64.* 15 fps", said), said
    assert re.findall(r"frame= *(\d+)", said)[-1] == "30"
    assert (written.num_frames, written.height, written.width) == (30, 64, 96)
    assert written.seconds == 2.0
    assert written.num_bytes == written.path.stat().st_size
    assert list(written.path.parent.iterdir()) == [written.path]


def test_an_mp4_keeps_the_colors_and_plays_while_it_loads(tmp_path):
    frames = moving_square(5, 64, 96)
    path = write(tmp_path / "a.mp4", frames, 15, "mp4").path
    difference = decode(path, 64, 96)[2].astype(int) - frames[2]
    # Away from the square's edges, where halved chroma must blur.
    assert np.abs(difference[32:]).max() <= 6
    assert np.abs(difference[10:22, 4:16]).max() <= 6
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")


def test_odd_sizes_are_made_even_by_padding(tmp_path):
    path = write(tmp_path / "a.mp4", moving_square(3, 33, 51), 15, "mp4").path
    assert " 52x34" in what_ffmpeg_says(path)


def test_a_gif_has_all_frames_their_size_and_exact_colors_where_256_suffice(tmp_path):
    frames = moving_square(12, 33, 51)
    written = write(tmp_path / "a.gif", frames, 10, "gif")
    said = what_ffmpeg_says(written.path)
    assert re.search(r"Video: gif.* 51x33.* 10 fps", said), said
    decoded = decode(written.path, 33, 51)
    assert len(decoded) == 12
    assert np.abs(decoded.astype(int) - np.stack(frames)).max() <= 3
    assert written.path.read_bytes()[:6] == b"GIF89a"
    assert list(tmp_path.iterdir()) == [written.path]


def test_a_block_left_by_an_exception_leaves_nothing_and_keeps_the_older_video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")

    def fail_half_way() -> None:
        with VideoWriter(path, 15) as writer:
            for frame in moving_square(4, 32, 32):
                writer.write(frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("video_format", ["mp4", "gif"])
def test_a_failing_ffmpeg_is_an_error_with_its_last_lines(tmp_path, monkeypatch, video_format):
    lines = "".join(f"echo line {n} >&2\n" for n in range(20))
    broken = program(tmp_path / "broken", lines + "head -c 100 >/dev/null\nexit 3\n")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    frames = moving_square(40, 128, 128)  # more than a pipe holds
    with pytest.raises(VideoError, match="status 3") as caught:
        write(tmp_path / f"a.{video_format}", frames, 15, video_format)
    assert str(caught.value).endswith("\n".join(f"  line {n}" for n in range(12, 20)))
    assert list(tmp_path.iterdir()) == [broken]


def test_an_ffmpeg_that_fails_at_the_very_end_is_an_error_too(tmp_path, monkeypatch):
    broken = program(tmp_path / "broken", "cat >/dev/null\necho disk full >&2\nexit 1\n")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    with pytest.raises(VideoError, match="disk full"):
        write(tmp_path / "a.mp4", moving_square(2, 32, 32), 15, "mp4")
    assert list(tmp_path.iterdir()) == [broken]


def test_real_complaints_of_ffmpeg_come_through(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_MP4_ARGUMENTS", ("-c:v", "no_such_codec", "-f", "mp4"))
    with pytest.raises(VideoError, match="Unknown encoder 'no_such_codec'"):
        write(tmp_path / "a.mp4", moving_square(40, 128, 128), 15, "mp4")


def test_a_file_that_is_no_program_is_named(tmp_path, monkeypatch):
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x00\x01\x02")
    junk.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(junk))
    with pytest.raises(VideoError, match="junk"):
        write(tmp_path / "a.mp4", moving_square(1, 32, 32), 15, "mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"IMAGEIO_FFMPEG_EXE=.*absent is no program"):
        find_ffmpeg()


def test_without_any_ffmpeg_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install imageio-ffmpeg"):
        find_ffmpeg()


def test_the_named_ffmpeg_comes_first_then_the_systems_then_the_bundled(tmp_path, monkeypatch):
    named = program(tmp_path / "named", "exit 0\n")
    (tmp_path / "system").mkdir()
    system = program(tmp_path / "system" / "ffmpeg", "exit 0\n")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(named))
    monkeypatch.setenv("PATH", str(system.parent))
    assert find_ffmpeg() == str(named)
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert find_ffmpeg() == str(system)
    system.unlink()
    package = tmp_path / "imageio_ffmpeg"
    (package / "binaries").mkdir(parents=True)
    # Importing it would fail, as the real one does beside newer setuptools.
    (package / "__init__.py").write_text("import no_such_module\n")
    bundled = program(package / "binaries" / "ffmpeg-linux64-v4.1", "exit 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_ffmpeg() == str(bundled)


def test_frames_of_the_wrong_kind_are_refused(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 15) as writer:
        with pytest.raises(ValueError, match=r"\[H, W, 3\] uint8, got \(4, 4\) float64"):
            writer.write(np.zeros((4, 4)))
        writer.write(np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(ValueError, match=r"one size: got \(32, 34, 3\)"):
            writer.write(np.zeros((32, 34, 3), np.uint8))


def test_a_video_without_frames_is_an_error(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 15)
    with pytest.raises(VideoError, match="not one frame"):
        writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_and_a_gif_too_fast_are_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the video"):
        VideoWriter(tmp_path / "file" / "a.mp4", 15)
    with pytest.raises(ConfigError, match="fps=60 is too fast for a GIF; use 50"):
        VideoWriter(tmp_path / "a.gif", 60, "gif")


def test_free_path_never_names_an_existing_file(tmp_path):
    path = tmp_path / "a.mp4"
    assert free_path(path) == path
    path.touch()
    assert free_path(path) == tmp_path / "a-2.mp4"
    (tmp_path / "a-2.mp4").touch()
    assert free_path(path) == tmp_path / "a-3.mp4"
