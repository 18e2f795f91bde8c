"""The mode report, and the report that training writes: where it goes, what cannot fail it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from curve_runs import curve_run, returns

from ppo_mpi.cli import parse_command
from ppo_mpi.config import TrainConfig, with_values
from ppo_mpi.errors import ConfigError
from ppo_mpi.modes.report import (
    MAX_VIDEO_BYTES,
    find_videos,
    report_at_end,
    report_command,
    report_on_the_way,
)
from ppo_mpi.reports.run_files import read_run_files
from ppo_mpi.settings.report import ReportConfig, ReportingConfig
from ppo_mpi.storage.run_folder import REPORT, start_over


class Said:
    """A logger that remembers what it is told."""

    def __init__(self):
        self.lines = []

    def message(self, text, *, is_warning=False):
        self.lines.append((text, is_warning))


def test_a_runs_report_lies_in_its_folder_with_the_evaluation_that_is_there(tmp_path, capsys):
    folder = curve_run(tmp_path / "a", returns(1.0, 2.0))
    document = {"run": "a", "levels": {"held-out": {"mean_return": 4.25}}}
    (folder / "evaluation.json").write_text(json.dumps(document))
    report_command(ReportConfig(checkpoint_dir=str(tmp_path), asset_dir=str(tmp_path / "assets")))
    assert "4.250" in (folder / REPORT).read_text("utf-8")
    assert f"wrote {folder / REPORT}" in capsys.readouterr().out
    start_over(folder)
    assert not (folder / REPORT).exists()


def test_several_runs_share_one_page_in_the_folder_of_pictures(tmp_path):
    for name in "ab":
        curve_run(tmp_path / "runs" / name, returns(1.0))
    config = ReportConfig((str(tmp_path / "runs"),), asset_dir=str(tmp_path / "assets"))
    report_command(config)
    assert "a, b" in (tmp_path / "assets" / REPORT).read_text("utf-8")


def test_a_file_that_cannot_be_written_or_read_is_an_error(tmp_path):
    curve_run(tmp_path / "a", returns(1.0))
    (tmp_path / "file").write_text("")
    place = {"checkpoint_dir": str(tmp_path)}
    with pytest.raises(ConfigError, match="cannot be written"):
        report_command(ReportConfig(output=f"{tmp_path}/file/x.html", **place))
    with pytest.raises(ConfigError, match="cannot read the evaluation"):
        report_command(ReportConfig(evaluations=("none.json",), **place))
    with pytest.raises(ConfigError, match="is no name of a page"):
        parse_command(["report", "--output", "a.pdf"])


def test_the_newest_video_that_fits_is_taken_and_others_are_told(tmp_path):
    run = read_run_files(curve_run(tmp_path / "runs" / "a", returns(1.0)))
    folder = tmp_path / "a" / "training"
    folder.mkdir(parents=True)
    (folder / "large.mp4").write_bytes(bytes(MAX_VIDEO_BYTES + 1))
    videos, left_out = find_videos([run], tmp_path)
    assert videos == []
    assert left_out[0].startswith("a: no video is smaller than 1.1 MB")
    (folder / "small.mp4").write_bytes(b"film")
    (folder / "link.mp4").symlink_to(folder / "small.mp4")
    assert find_videos([run], tmp_path) == ([("a: small.mp4", b"film")], [])


def test_training_writes_its_report_at_the_end_and_now_and_then_if_it_is_told(tmp_path, capsys):
    folder = curve_run(tmp_path / "a", returns(1.0))
    said = Said()
    report_at_end(with_values(TrainConfig(), {"report": False}), folder)
    report_on_the_way(TrainConfig(), 4, folder, said)
    report_on_the_way(with_values(TrainConfig(), {"report_every": 3}), 4, folder, said)
    assert not (folder / REPORT).exists()
    report_on_the_way(with_values(TrainConfig(), {"report_every": 2}), 4, folder, said)
    first = (folder / REPORT).stat().st_ino
    report_at_end(TrainConfig(), folder)
    assert (folder / REPORT).stat().st_ino != first
    assert (said.lines, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize("name", ["config.yaml", "progress.csv", "evaluation.json"])
def test_a_report_that_fails_is_a_warning_and_nothing_more(tmp_path, capsys, name):
    folder = curve_run(tmp_path / "a", returns(1.0))
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    said = Said()
    report_at_end(TrainConfig(), folder)
    report_on_the_way(with_values(TrainConfig(), {"report_every": 1}), 1, folder, said)
    assert capsys.readouterr().err.startswith("warning: no report was written")
    ((text, is_warning),) = said.lines
    assert is_warning
    assert f"python -m ppo_mpi report {folder}" in text


def test_a_report_on_the_way_needs_reports():
    with pytest.raises(ConfigError, match="report_every=5 has no effect on report=false"):
        ReportingConfig(report=False, report_every=5).check()


def test_training_with_reports_needs_no_plotting_package():
    code = "import sys, ppo_mpi.modes.train; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
