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


def test_a_touch_keeps_its_values_and_keys_go_along_the_curves(browser, page):
    browser.open(page, width=390, height=800)
    first = "document.querySelector('[data-chart=\"0\"]')"
    browser.wait_for(f"{first}.querySelector('path')")
    shown = f"{first}.querySelector('.tip').innerText.split('\\n')[0]"
    x, y = browser.value(
        f"(() => {{ {first}.scrollIntoView({{block: 'center'}});"
        f"const b = {first}.getBoundingClientRect(); return [b.right - 11, b.top + 50]; }})()"
    )
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    assert browser.value(f"!{first}.querySelector('.tip').hidden")
    assert 1_450_000 < int(browser.value(shown).split()[0].replace(",", "")) <= 1_500_000
    browser.value("document.querySelector('h1').dispatchEvent("
                  "new PointerEvent('pointerdown', {bubbles: true}))")  # fmt: skip
    assert browser.value(f"{first}.querySelector('.tip').hidden")
    browser.value(f"{first}.focus()")
    for key, timesteps in (("Home", 1000), ("End", 1_500_000), ("ArrowLeft", None)):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
        own = int(browser.value(shown).split()[0].replace(",", ""))
        assert own == timesteps if timesteps else 1_400_000 < own < 1_500_000
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert browser.value(f"{first}.querySelector('.tip').hidden")
    assert browser.problems() == []


def test_seeds_are_a_mean_with_its_band_and_single_runs_at_a_button(browser, tmp_path):
    for k in range(4):
        rows = [{"mean_return": i + 10 * (k % 2)} for i in range(50)]
        curve_run(tmp_path / "runs" / f"r{k}", rows, seed=k % 2, discount=0.9 + 0.05 * (k // 2))
    report_command(ReportConfig((str(tmp_path / "runs"),), output=str(tmp_path / "r.html")))
    browser.open(tmp_path / "r.html")
    chart = "document.querySelector('[data-chart=\"0\"]')"
    curves, bands = (
        f"{chart}.querySelectorAll('path{kind}').length" for kind in (":not(.band)", ".band")
    )
    browser.wait_for(f"{curves} == 2")
    assert browser.value(bands) == 2
    browser.point_at('[data-chart="0"]', 0.999)
    assert browser.value(f"{chart}.querySelector('.tip').innerText").splitlines()[1] == (
        "discount=0.9 (2 seeds), training: 54 (-9.531 to 117.5)"  # 49 and 59: 5 * 12.706 around 54
    )
    labels = (
        "[...document.querySelectorAll('[data-entry]')]"
        ".filter(e => !e.hidden).map(e => e.innerText)"
    )
    assert browser.value(labels) == ["discount=0.9 (2 seeds)", "discount=0.95 (2 seeds)"]
    browser.value("document.querySelector('[data-entry=\"1\"]').click()")
    assert browser.value(curves) == 1
    browser.value("document.querySelector('[data-value=runs]').click()")
    assert browser.value(curves) == 4
    assert browser.value(bands) == 0
    assert browser.value(labels) == ["r0", "r1", "r2", "r3"]
    assert browser.problems() == []


def test_a_dark_page_is_printed_on_white(browser, page):
    browser.open(page, dark=True)
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.call("Emulation.setEmulatedMedia", media="print", features=[dark])
    color = "getComputedStyle(document.body).backgroundColor"
    assert browser.value(color) == "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.querySelector('video')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")


def test_buttons_hide_runs_and_change_axes(browser, page):
    browser.open(page)
    count = "document.querySelectorAll('[data-chart=\"0\"] path').length"
    texts = "[...document.querySelectorAll('[data-chart=\"0\"] text')].map(e => e.textContent)"
    browser.wait_for(f"{count} == 4")
    assert "1M" in browser.value(texts)
    browser.value("document.querySelector('[data-entry=\"1\"]').click()")
    assert browser.value(count) == 2
    assert browser.value("document.querySelector('[data-entry=\"1\"]').ariaPressed") == "false"
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
