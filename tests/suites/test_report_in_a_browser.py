"""A report as people open it, in a real Chromium: a run's own, and one of several runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from browser import Browser, find_browser
from curve_runs import curve_run
from jobs import run_job

from ppo_mpi.errors import MissingPackageError
from ppo_mpi.modes.report import report_command
from ppo_mpi.settings.report import ReportConfig
from ppo_mpi.storage.video import VideoWriter, find_ffmpeg

pytestmark = pytest.mark.skipif(find_browser() is None, reason="needs chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the report of two made-up runs with a long name, held-out returns and a video."""
    root = tmp_path_factory.mktemp("runs")
    for k, name in enumerate(("a", "b" * 120)):
        rows = [{"mean_return": k + i / 100, "test_mean_return": i / 200, "entropy": 1 / (i + 1)}
                for i in range(1500)]  # fmt: skip
        curve_run(root / "runs" / name, rows, seed=k, discount=0.9 + 0.05 * k)
    try:
        find_ffmpeg()
    except MissingPackageError:
        pytest.skip("needs ffmpeg")
    with VideoWriter(root / "assets" / "a" / "clip.mp4", 10) as video:
        for k in range(10):
            video.write(np.full((64, 64, 3), 25 * k, np.uint8))
        video.finish()
    evaluation = {"run": "a", "env": "x" * 80, "levels": {"train": {"mean_return": 1.0}}}
    (root / "runs" / "a" / "evaluation.json").write_text(json.dumps(evaluation))
    config = ReportConfig(
        (str(root / "runs"),), output=str(root / "r.html"), asset_dir=str(root / "assets")
    )
    report_command(config)
    return root / "r.html"


def test_curves_are_drawn_without_complaint_and_a_pointer_reads_their_values(browser, page):
    browser.open(page)
    first = "document.querySelector('[data-chart=\"0\"]')"
    browser.wait_for(f"{first}.querySelectorAll('path').length == 4")
    tip = f"{first}.querySelector('.tip')"
    assert browser.value(f"{tip}.hidden")
    browser.point_at('[data-chart="0"]', 0.999)
    assert browser.value(f"{tip}.innerText").splitlines() == [
        "1,500,000 timesteps", "a, training: 14.99", "a, held-out levels: 7.495",
        "b" * 120 + ", training: 15.99", "b" * 120 + ", held-out levels: 7.495",
    ]  # fmt: skip
    assert browser.problems() == []


def test_buttons_hide_runs_and_change_axes(browser, page):
    browser.open(page)
    count = "document.querySelectorAll('[data-chart=\"0\"] path').length"
    texts = "[...document.querySelectorAll('[data-chart=\"0\"] text')].map(e => e.textContent)"
    browser.wait_for(f"{count} == 4")
    assert "1M" in browser.value(texts)
    browser.value("document.querySelector('[data-run=\"1\"]').click()")
    assert browser.value(count) == 2
    assert browser.value("document.querySelector('[data-run=\"1\"]').ariaPressed") == "false"
    browser.value("document.querySelector('[data-value=h]').click()")
    assert "10 h" in browser.value(texts)
    browser.value("document.querySelector('[data-value=log]').click()")
    assert "0.1" in browser.value(texts)
    assert browser.problems() == []


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_scrolls_sideways_light_or_dark(browser, page, dark):
    browser.open(page, width=360, height=740, dark=dark)
    browser.wait_for("document.querySelector('[data-chart=\"0\"] path')")
    assert browser.value("document.documentElement.scrollWidth") <= 360
    assert browser.value("document.querySelector('[data-chart=\"0\"]').clientWidth") >= 300
    color = browser.value("getComputedStyle(document.body).backgroundColor")
    assert color == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")


def test_the_video_plays(browser, page):
    browser.open(page)
    playing = "document.querySelector('video').play().then(() => true)"
    assert browser.value(playing)
    browser.wait_for("document.querySelector('video').currentTime > 0.2")
    assert browser.value("document.querySelector('video').videoWidth") == 64


def test_a_script_that_was_smuggled_in_does_not_run(browser, page, tmp_path):
    text = page.read_text("utf-8")
    (tmp_path / "evil.html").write_text(text.replace("<main>", "<main><script>x = 1</script>"))
    browser.open(tmp_path / "evil.html")
    assert browser.value("typeof x") == "undefined"
    assert "Content Security Policy" in "".join(browser.problems())


def test_training_leaves_a_report_that_opens(browser, tmp_path):
    pytest.importorskip("gymnasium")
    words = ["train", "CartPole-v1", "--total-timesteps", "3k", "--run", "<b>cart"]
    words += ["--report-every", "1", "--device", "cpu"]
    done = run_job(0, *words, cwd=tmp_path)
    path = tmp_path / "checkpoints" / "<b>cart" / "report.html"
    assert "report.html" in done.stdout
    browser.open(path)
    browser.wait_for("document.querySelector('[data-chart=\"0\"] path')")
    assert browser.value("document.querySelector('h1').innerText") == "<b>cart"
    assert "finished" in browser.value("document.querySelector('.cards').innerText")
    assert browser.problems() == []
