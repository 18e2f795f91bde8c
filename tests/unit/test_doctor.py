"""doctor: what it finds, and what it says about what is broken."""

from __future__ import annotations

import os
import shutil
import stat
import sys

import pytest

from ppo_mpi.mode_config import DoctorConfig
from ppo_mpi.modes import doctor


def write_program(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_command_apart_returns_its_output_its_last_complaint_or_that_it_hangs():
    run = doctor.run_apart
    assert run([sys.executable, "-c", "print(3)"]) == (0, "3")
    complaint = "import sys; print('one\\ntwo', file=sys.stderr); sys.exit(5)"
    assert run([sys.executable, "-c", complaint]) == (5, "two")
    assert run([sys.executable, "-c", "import os; os.abort()"])[0] < 0
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert run(hang, seconds=0.5) == (124, "no answer within 0 s")
    assert run(["/nonexistent/program"])[0] == 127


def test_python_and_torch_are_fine_where_the_tests_run():
    assert doctor.check_python().level in ("OK", "WARN")
    assert doctor.check_torch().level == "OK"
    assert doctor.check_kernels().level in ("OK", "WARN")


def test_ranks_that_do_not_find_each_other_are_a_failure(tmp_path, monkeypatch):
    write_program(
        tmp_path / "mpirun", '#!/bin/sh\n[ "$1" = --version ] && exit\necho size 1; echo size 1\n'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    finding = doctor.check_launcher()
    assert finding.level == "FAIL"
    assert "do not belong together" in finding.text


def test_ranks_that_find_each_other_are_fine_however_their_words_are_mixed(monkeypatch):
    pytest.importorskip("mpi4py")
    installed = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("mpirun", path=installed) is None:
        pytest.skip("no launcher")
    monkeypatch.setenv("PATH", installed)
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # every word by itself
    assert {doctor.check_launcher().level for _ in range(5)} == {"OK"}


def test_a_launcher_that_fails_is_a_failure_with_its_complaint(tmp_path, monkeypatch):
    write_program(tmp_path / "mpirun", "#!/bin/sh\necho no slots >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    finding = doctor.check_launcher()
    assert finding.level == "FAIL"
    assert "no slots" in finding.text


def test_no_launcher_is_a_warning_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor.check_launcher()
    assert finding.level == "WARN"
    assert 'pip install "ppo_mpi[mpich]"' in finding.text


def test_an_ffmpeg_that_does_not_run_is_a_warning(tmp_path, monkeypatch):
    broken = write_program(tmp_path / "ffmpeg", "#!/bin/sh\necho broken >&2\nexit 3\n")
    monkeypatch.setattr(doctor, "find_ffmpeg", lambda: broken)
    finding = doctor.check_ffmpeg()
    assert finding.level == "WARN"
    assert "broken" in finding.text


def test_a_display_is_told_from_none(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert doctor.check_display().text == "DISPLAY"
    monkeypatch.delenv("DISPLAY")
    if sys.platform == "linux":
        assert "terminal" in doctor.check_display().text


def test_the_folder_of_the_runs_need_not_exist_but_must_be_possible(tmp_path):
    assert doctor.check_folder(tmp_path / "a" / "b").level == "OK"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    finding = doctor.check_folder(tmp_path / "file" / "b")
    assert finding.level == "FAIL"
    assert "--checkpoint-dir" in finding.text


@pytest.mark.parametrize(("level", "status"), [("OK", 0), ("WARN", 0), ("FAIL", 1)])
def test_only_what_is_needed_makes_the_exit_status_1(level, status, monkeypatch, capsys, tmp_path):
    for name in [name for name in vars(doctor) if name.startswith("check_")]:
        monkeypatch.setattr(doctor, name, lambda *_: doctor.Finding("OK", "it", "fine"))
    monkeypatch.setattr(doctor, "check_torch", lambda: doctor.Finding(level, "torch", "text"))
    assert doctor.doctor_command(DoctorConfig(checkpoint_dir=str(tmp_path))) == status
    assert f"{level:4}  torch" in capsys.readouterr().out
