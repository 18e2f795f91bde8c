"""Videos: frames go through a pipe to ffmpeg, which writes an MP4 or a GIF.

Axes: H, W height and width of a frame in pixels, 3 red, green, blue.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

import numpy as np

from ppo_mpi.errors import ConfigError, MissingPackageError, VideoError

VideoFormat = Literal["mp4", "gif"]

# Browsers slow a GIF down to 10 frames/s when a frame lasts less than 2 hundredths of a second.
MAX_GIF_FPS = 50
ERROR_LINES = 8

# H.264 wants even sizes in yuv420p. The colors are converted and labeled as BT.709, which is what
# a browser assumes; ffmpeg's own choice would be BT.601, unlabeled, and reds would shift.
_MP4_FILTER = (
    "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
)
_MP4_ARGUMENTS = (
    *("-vf", _MP4_FILTER, "-c:v", "libx264", "-preset", "medium", "-crf", "18"),
    *("-pix_fmt", "yuv420p", "-colorspace", "bt709", "-color_primaries", "bt709"),
    *(
        "-color_trc",
        "bt709",
        "-color_range",
        "tv",
        "-movflags",
        "+faststart",
        "-f",
        "mp4",
    ),
)
# Lossless and known to every ffmpeg: what a GIF is made from once its palette is known.
_LOSSLESS_ARGUMENTS = ("-c:v", "ffv1", "-pix_fmt", "bgr0", "-f", "matroska")


@dataclass(frozen=True)
class Video:
    """A video that was written completely."""

    path: Path
    """Where it is."""
    num_frames: int
    """Its length in frames."""
    fps: int
    """Frames per second."""
    height: int
    """Height of the frames that were given, in pixels (an MP4 may have one row more)."""
    width: int
    """Width of the frames that were given, in pixels (an MP4 may have one column more)."""
    num_bytes: int
    """Its size on disk."""

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return self.num_frames / self.fps

    def describe(self) -> str:
        """Return one line for the user: where it is, how long, how large."""
        return (
            f"{self.path}: {self.seconds:.1f} s ({self.num_frames} frames at {self.fps}/s), "
            f"{self.width}x{self.height}, {self.num_bytes / 1e6:.2f} MB"
        )


def find_ffmpeg() -> str:
    """Return the path of ffmpeg: $IMAGEIO_FFMPEG_EXE, else the system's, else the bundled one.

    The package imageio_ffmpeg is located but never imported: the version that Procgen's gym3 asks
    for needs ``pkg_resources``, which newer setuptools no longer have.

    Raises:
        ConfigError: $IMAGEIO_FFMPEG_EXE names no file that can be run.
        MissingPackageError: there is no ffmpeg.
    """
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    if named:
        if path := shutil.which(named):
            return path
        raise ConfigError(
            f"IMAGEIO_FFMPEG_EXE={named} is no program that can be run; correct it or unset it"
        )
    if path := shutil.which("ffmpeg"):
        return path
    spec = importlib.util.find_spec("imageio_ffmpeg")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "binaries", "ffmpeg-*"))):
            if os.access(path, os.X_OK):
                return path
    raise MissingPackageError(
        "videos need ffmpeg: pip install imageio-ffmpeg, or apt install ffmpeg, or set "
        "IMAGEIO_FFMPEG_EXE to the path of one"
    )


class VideoWriter:
    """Writes one video, frame by frame; a context manager.

    The video grows under a temporary name beside its own and is renamed when it is complete. If
    the block is left by an exception, nothing stays behind.
    """

    def __init__(self, path: Path, fps: int, video_format: VideoFormat = "mp4") -> None:
        """Prepare to write; ffmpeg itself starts with the first frame, which gives the size.

        Args:
            path: the video's file; an existing one is replaced when the new one is complete.
            fps: frames per second.
            video_format: mp4 (H.264, yuv420p, playable while it loads) or gif (one palette of
                256 colors made for this video).

        Raises:
            ConfigError: the folder cannot be written, or a GIF cannot be that fast.
            MissingPackageError: there is no ffmpeg.
        """
        if video_format == "gif" and fps > MAX_GIF_FPS:
            raise ConfigError(f"fps={fps} is too fast for a GIF; use {MAX_GIF_FPS} or less, or mp4")
        self.path, self.fps, self.format = path, fps, video_format
        self._ffmpeg = find_ffmpeg()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise ConfigError(
                f"cannot write the video {path}: {error.strerror}; choose another folder"
            ) from error
        # Not beside the video: when its disk is full, the message must still fit somewhere.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] = ()
        self._num_frames = 0

    def write(self, frame: np.ndarray) -> None:
        """Append one frame.

        Args:
            frame: [H, W, 3] uint8, the same size for all frames.

        Raises:
            ValueError: the frame is not of that shape, type or size.
            VideoError: ffmpeg gave up; the message ends with its last lines.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is [H, W, 3] uint8, got {frame.shape} {frame.dtype}")
        if self._process is None:
            self._shape = frame.shape
            self._process = self._start()
        if frame.shape != self._shape:
            raise ValueError(f"all frames have one size: got {frame.shape} after {self._shape}")
        assert self._process.stdin is not None, "ffmpeg was started with a pipe"
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            self._process.wait()
            raise self._error(self._process.returncode) from None
        self._num_frames += 1

    def finish(self) -> Video:
        """Complete the video and give it its name.

        Raises:
            VideoError: there was no frame, or ffmpeg failed.
        """
        try:
            if self._process is None:
                raise VideoError(f"cannot write {self.path}: not one frame was given")
            self._close_pipe()
            if status := self._process.wait():
                raise self._error(status)
            part = self._make_gif() if self.format == "gif" else self._part
            num_bytes = part.stat().st_size
            part.replace(self.path)
        finally:
            self.abort()
        height, width = self._shape[:2]
        return Video(self.path, self._num_frames, self.fps, height, width, num_bytes)

    def abort(self) -> None:
        """End ffmpeg if it still runs and remove everything unfinished."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close_pipe()
        self._errors.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    @property
    def _part(self) -> Path:
        return self._folder / "video.part"

    def _start(self) -> subprocess.Popen[bytes]:
        height, width = self._shape[:2]
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}")
        target = _MP4_ARGUMENTS if self.format == "mp4" else _LOSSLESS_ARGUMENTS
        arguments = (
            *source,
            "-r",
            str(self.fps),
            "-i",
            "pipe:0",
            *target,
            str(self._part),
        )
        try:
            return subprocess.Popen(
                self._command(*arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                # Ctrl-C is for us: ffmpeg would end by itself, half a video looking complete.
                start_new_session=True,
            )
        except OSError as error:
            raise VideoError(
                f"cannot start {self._ffmpeg}: {error.strerror}; set IMAGEIO_FFMPEG_EXE to "
                "another ffmpeg"
            ) from error

    def _make_gif(self) -> Path:
        # A palette for the whole video needs all frames first. From a lossless file that takes no
        # memory; in one pass ffmpeg would keep every raw frame (a minute of a 4x4 grid: 11 GB).
        palette, gif = self._folder / "palette.png", self._folder / "gif.part"
        part = str(self._part)
        self._run(
            "-i",
            part,
            "-vf",
            "palettegen=stats_mode=full",
            "-f",
            "image2",
            str(palette),
        )
        join = "paletteuse=dither=none:diff_mode=rectangle"
        self._run("-i", part, "-i", str(palette), "-lavfi", join, "-f", "gif", str(gif))
        return gif

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            self._command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            raise self._error(done.returncode)

    def _command(self, *arguments: str) -> list[str]:
        return [self._ffmpeg, "-hide_banner", "-loglevel", "error", "-y", *arguments]

    def _close_pipe(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            # ffmpeg is gone and the last frame with it; its exit status tells the story.
            return

    def _error(self, status: int) -> VideoError:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = [line for line in lines if line.strip()][-ERROR_LINES:] or ["(it said nothing)"]
        return VideoError(
            f"{self._ffmpeg} failed with status {status} while writing {self.path}; check the "
            "space on the disk, or set IMAGEIO_FFMPEG_EXE to another ffmpeg. Its last lines:\n  "
            + "\n  ".join(last)
        )


def free_path(path: Path) -> Path:
    """Return ``path``, or with -2, -3, ... before its suffix the first name that is not taken."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
