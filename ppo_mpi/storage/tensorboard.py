"""TensorBoard's event files: curves, settings, histograms and videos."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo_mpi.storage.curves import Unbuffered
from ppo_mpi.storage.run_folder import TENSORBOARD
from ppo_mpi.storage.video import find_ffmpeg

if TYPE_CHECKING:
    from ppo_mpi.storage.trackers import Histogram

SHOWN_RETURNS = ("episodes/mean_return", "episodes/test_mean_return")
"""Beside the settings in TensorBoard's table of runs."""
GIF_SECONDS, GIF_COLUMNS = 20, 160
"""Most of a video, which TensorBoard shows as a GIF."""
CLOSE_SECONDS = 20.0
"""Longest wait for the last GIF."""


class TensorBoard:
    """Event files, written without TensorFlow even where it is installed.

    Source: the record format of TensorFlow's event files, by tensorboard's own writer; its
    EventFileWriter would import TensorFlow if it is there, and costs a thread.
    """

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        """Begin a file.

        Args:
            run_dir: the run's folder.
            settings: of the run, for the table of runs; {} for none.
        """
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._session = event_pb2.Event, event_pb2.SessionLog
        self._protos = summary_pb2
        folder = run_dir / TENSORBOARD
        folder.mkdir(exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
        while (folder / name).exists():
            name += ".1"
        self._records = RecordWriter(Unbuffered(folder / name, "wb"))
        self._add(self._event(wall_time=now, file_version="brain.Event:2"))
        self._filming: list[tuple[int, subprocess.Popen[bytes], Path]] = []
        if settings:
            self._add_settings(settings)

    def purge(self, timesteps: int) -> None:
        """Hide the points that were written for ``timesteps`` or later."""
        start = self._session(status=self._session.START)
        self._add(self._event(wall_time=time.time(), step=timesteps, session_log=start))

    def row(self, timesteps: int, row: Mapping[str, float | None]) -> None:
        """Add a point at ``timesteps`` to each curve."""
        self._add_values(
            timesteps,
            [
                self._protos.Summary.Value(tag=tag_of(name), simple_value=value)
                for name, value in row.items()
                if value is not None and name not in ("iteration", "timesteps")
            ],
        )
        self._collect_gifs(0.0)

    def histograms(self, timesteps: int, histograms: Mapping[str, Histogram]) -> None:
        """Add the spread of each tensor."""
        values = []
        for name, spread in histograms.items():
            middles = [(a + b) / 2 for a, b in zip(spread.edges, spread.edges[1:], strict=False)]
            weighted = list(zip(spread.counts, middles, strict=True))
            proto = self._protos.HistogramProto(
                min=spread.edges[0],
                max=spread.edges[-1],
                num=sum(spread.counts),
                sum=sum(n * x for n, x in weighted),
                sum_squares=sum(n * x * x for n, x in weighted),
                bucket_limit=spread.edges[1:],
                bucket=spread.counts,
            )
            values.append(self._protos.Summary.Value(tag=f"parameters/{name}", histo=proto))
        self._add_values(timesteps, values)

    def video(self, timesteps: int, path: Path) -> None:
        """Show a video's beginning, once ffmpeg has made a GIF of it."""
        with tempfile.NamedTemporaryFile(suffix=".gif", delete=False) as file:
            gif = Path(file.name)
        words = ["-hide_banner", "-loglevel", "error", "-y", "-t", str(GIF_SECONDS), "-i",
                 str(path), "-vf", f"scale='min({GIF_COLUMNS},iw)':-2", "-f", "gif",
                 str(gif)]  # fmt: skip
        process = subprocess.Popen(
            [find_ffmpeg(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._filming.append((timesteps, process, gif))

    def close(self) -> None:
        """Add the last GIFs, and close the file."""
        self._collect_gifs(CLOSE_SECONDS)
        self._records.close()

    def _collect_gifs(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        left = []
        for timesteps, process, gif in self._filming:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                if not seconds:
                    left.append((timesteps, process, gif))
                    continue
                process.kill()
                process.wait()
            content = gif.read_bytes() if process.returncode == 0 else b""
            gif.unlink(missing_ok=True)
            if content:
                image = self._protos.Summary.Image(
                    encoded_image_string=content, colorspace=3,
                    width=int.from_bytes(content[6:8], "little"),
                    height=int.from_bytes(content[8:10], "little"),
                )  # fmt: skip
                value = self._protos.Summary.Value(tag="episodes/video", image=image)
                self._add_values(timesteps, [value])
        self._filming = left

    def _add_settings(self, settings: Mapping[str, Any]) -> None:
        """Fill TensorBoard's table of runs: the settings beside the returns."""
        from google.protobuf import struct_pb2
        from tensorboard.plugins.hparams import api_pb2, metadata
        from tensorboard.plugins.hparams import plugin_data_pb2 as plugin

        returns = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=t)) for t in SHOWN_RETURNS]
        types = {bool: "BOOL", int: "FLOAT64", float: "FLOAT64"}
        infos, values = [], {}
        for name, value in settings.items():
            kind = types.get(type(value), "STRING")
            infos.append(api_pb2.HParamInfo(name=name, type=f"DATA_TYPE_{kind}"))
            if kind == "STRING":
                values[name] = struct_pb2.Value(string_value=str(value))
            elif kind == "BOOL":
                values[name] = struct_pb2.Value(bool_value=value)
            else:
                values[name] = struct_pb2.Value(number_value=value)
        experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=returns)
        start = plugin.SessionStartInfo(hparams=values, start_time_secs=time.time())
        for tag, content in (
            (metadata.EXPERIMENT_TAG, plugin.HParamsPluginData(experiment=experiment)),
            (metadata.SESSION_START_INFO_TAG, plugin.HParamsPluginData(session_start_info=start)),
        ):
            about = metadata.create_summary_metadata(content)
            value = self._protos.Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
            self._add_values(0, [value])

    def _add_values(self, timesteps: int, values: list[Any]) -> None:
        summary = self._protos.Summary(value=values)
        self._add(self._event(wall_time=time.time(), step=timesteps, summary=summary))
        self._records.flush()

    def _add(self, event: Any) -> None:
        self._records.write(event.SerializeToString())


def tag_of(column: str) -> str:
    """Return the curve of a column of progress.csv, with its group in front."""
    if "/" in column:  # auxiliary/, behind which stand names that a user gave
        return column
    if "_of_" in column or column.endswith("mean_score"):
        return f"games/{column}"
    if column.endswith(("return", "length", "episodes")):
        return f"episodes/{column}"
    is_of_job = column.startswith("busy_") or column.endswith(("_rank", "mebibytes"))
    return f"time/{column}" if "second" in column or is_of_job else f"learning/{column}"
