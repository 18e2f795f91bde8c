"""The agents of the gallery: they load, play as they were measured, and fit their table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from browser import Browser, find_browser

from benchmarks import gallery as maker
from ppo_mpi import api
from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError, MissingPackageError
from ppo_mpi.storage.shared_run import is_shared
from ppo_mpi.storage.system_info import system_info

AGENTS = [path.name for path in maker.agents(maker.GALLERY)]
EPISODES = 3
MAX_REPORT_BYTES = 2_000_000


def document_of(name: str) -> dict:
    return json.loads((maker.GALLERY / name / "evaluation.json").read_text())


def is_as_where_it_was_measured(name: str) -> bool:
    """Return whether processor and versions are those that the agent's folder tells of."""
    session = json.loads((maker.GALLERY / name / "system.json").read_text())["sessions"][-1]
    versions = session["packages"]
    here = system_info(Communicator())
    same = all(session[fact] == here[fact] for fact in ("processor", "python"))
    return same and all(here["packages"].get(name) == versions[name] for name in versions)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_plays_as_it_was_measured(name: str):
    try:
        agent = api.load(f"gallery/{name}", device="cpu", precision="float32")
    except MissingPackageError as error:
        pytest.skip(str(error))
    document = document_of(name)
    assert agent.timesteps == document["timesteps"]
    for words in document["levels"]:
        levels = "train" if words.startswith("train") else "test"
        greedy, seed = document["greedy"], document["seed"]
        played = api.evaluate(agent, EPISODES, levels, greedy=greedy, seed=seed).episodes
        measured = document["episodes"][words]
        returns = [episode.episode_return for episode in played]
        wanted = [episode["episode_return"] for episode in measured[:EPISODES]]
        if is_as_where_it_was_measured(name):
            assert returns == pytest.approx(wanted, rel=1e-6)
        # Elsewhere rounding may lead an episode another way, but not out of what was seen.
        every = [episode["episode_return"] for episode in measured]
        slack = 0.1 * (max(every) - min(every)) + 0.01 * abs(max(every))
        assert min(every) - slack <= min(returns) <= max(returns) <= max(every) + slack


def test_there_are_agents_and_all_of_them_fit_into_a_repository():
    assert "cartpole" in AGENTS
    files = [path for path in maker.GALLERY.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) < maker.MAX_FILE_BYTES
    assert maker.megabytes(maker.GALLERY) < maker.MAX_BYTES / 1e6


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_has_a_policy_only_and_a_report_with_a_clip(name: str):
    folder = maker.GALLERY / name
    assert is_shared(folder)
    assert not list(folder.rglob("optimizer*"))
    page = (folder / "report.html").read_text("utf-8")
    assert len(page) < MAX_REPORT_BYTES
    assert page.count('src="data:video/mp4;base64,') == 1
    assert "<h2>Evaluation</h2>" in page
    assert f"play assets/gallery/{name}" in page
    for path in folder.rglob("*.*"):
        text = path.read_text("utf-8", "replace")
        assert not any(place in text for place in ("/tmp/", "/home/", "/root/")), path


def test_the_table_is_that_of_the_files():
    readme = (maker.GALLERY / maker.README).read_text("utf-8")
    between = readme.partition(maker.BEGIN)[2].partition(maker.END)[0]
    assert between.strip() == maker.table(maker.GALLERY).strip()


@pytest.mark.skipif(find_browser() is None, reason="needs chromium")
def test_a_report_opens_in_a_browser_and_its_clip_plays(tmp_path: Path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(maker.GALLERY / "cartpole" / "report.html")
        browser.wait_for("document.querySelector('[data-chart=\"0\"] path')")
        assert browser.value("document.querySelector('h1').innerText") == "cartpole"
        assert browser.value("document.querySelector('video').play().then(() => true)")
        browser.wait_for("document.querySelector('video').currentTime > 0.2")
        assert browser.problems() == []
    finally:
        browser.close()


def test_a_run_is_put_into_a_gallery_once_with_its_row(tmp_path: Path):
    settings = {"num_envs": 2, "rollout_timesteps": 64, "num_minibatches": 1, "num_epochs": 1}
    run = api.train("CartPole-v1", total_timesteps=64, run="pole", display="off", device="cpu",
                    checkpoint_dir=str(tmp_path), **settings).path  # fmt: skip
    own = tmp_path / "gallery"
    own.mkdir()
    (own / maker.README).write_text(f"before\n{maker.BEGIN}\nold\n{maker.END}\nafter\n")
    try:
        maker.put(run, "small", False, own)
    except MissingPackageError as error:
        pytest.skip(str(error))
    maker.write_table(own)
    text = (own / maker.README).read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| [small](small/) | gym:CartPole-v1 | `cartpole` | 64 |" in text
    assert [path.name for path in own.iterdir() if path.is_dir()] == ["small"]
    with pytest.raises(ConfigError, match=r"small exists; give the agent another name"):
        maker.put(run, "small", False, own)
    (run / "DONE").unlink()
    with pytest.raises(ConfigError, match="is not finished"):
        maker.put(run, "other", False, own)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch):
    shutil.copytree(maker.GALLERY / "cartpole", tmp_path / "gallery" / "one")
    new = tmp_path / "new"
    shutil.copytree(maker.GALLERY / "cartpole", new)
    maker.check_sizes(new, tmp_path / "gallery", new)
    monkeypatch.setattr(maker, "MAX_BYTES", int(1.5e6 * maker.megabytes(new)))
    with pytest.raises(ConfigError, match="leave another agent out"):
        maker.check_sizes(new, tmp_path / "gallery", new)
    maker.check_sizes(new, tmp_path / "gallery", tmp_path / "gallery" / "one")
    (new / "model.bin").write_bytes(bytes(5_000_001))
    with pytest.raises(ConfigError, match=r"model.bin of new has 5.0 MB"):
        maker.check_sizes(new, tmp_path / "gallery", new)
