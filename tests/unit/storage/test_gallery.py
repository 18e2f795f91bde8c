"""Names of the gallery: what they mean, what comes first, and what nobody writes into."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppo_mpi.errors import CheckpointError, ConfigError
from ppo_mpi.reports.finding import find_runs
from ppo_mpi.storage import gallery
from ppo_mpi.storage.run_folder import find_run, run_dir


def make_agent(folder: Path) -> Path:
    (folder / "step-000000000064").mkdir(parents=True)
    for name in ("config.yaml", "progress.csv"):
        (folder / name).write_text("")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder we stand in, with a gallery of two agents; the package lies elsewhere."""
    for name in ("pole", "star"):
        make_agent(tmp_path / "assets" / "gallery" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gallery.ppo_mpi, "__file__", str(tmp_path / "site" / "x" / "__init__.py"))
    return tmp_path


def test_a_name_is_found_in_the_checkout_with_its_tags_and_checkpoints(checkout: Path):
    own = Path("assets/gallery/pole")
    assert find_run("gallery/pole", "checkpoints") == (own, None)
    step = own / "step-000000000064"
    assert find_run("gallery/pole:64", "checkpoints") == (own, step)
    assert find_run("gallery/pole/step-000000000064", "checkpoints") == (own, step)
    assert find_runs(["gallery/pole"], "checkpoints")[0] == [own]
    both = [own, Path("assets/gallery/star")]
    assert find_runs(["gallery/*"], "checkpoints")[0] == both
    assert list(gallery.agents().values()) == both


def test_it_is_found_beside_the_package_wherever_one_stands(checkout: Path, monkeypatch):
    monkeypatch.setattr(gallery.ppo_mpi, "__file__", str(checkout / "ppo_mpi" / "__init__.py"))
    (checkout / "elsewhere").mkdir()
    monkeypatch.chdir(checkout / "elsewhere")
    assert find_run("gallery/star", "checkpoints")[0] == checkout / "assets" / "gallery" / "star"


def test_runs_of_ones_own_come_first(checkout: Path):
    own = make_agent(Path("checkpoints/gallery/pole"))
    assert find_run("gallery/pole", "checkpoints")[0] == own
    assert find_runs(["gallery/pole"], "checkpoints")[0] == [own]
    here = make_agent(Path("gallery/pole"))
    assert find_run("gallery/pole", "checkpoints")[0] == here


def test_an_unknown_name_lists_what_there_is(checkout: Path):
    for find in (
        lambda: find_run("gallery/maze", "checkpoints"),
        lambda: find_run("gallery/", "checkpoints"),
        lambda: find_runs(["gallery/maze"], "checkpoints"),
    ):
        with pytest.raises(ConfigError, match="the gallery has gallery/pole, gallery/star"):
            find()


def test_without_a_checkout_it_is_said_where_the_gallery_is(checkout: Path, monkeypatch):
    (checkout / "empty").mkdir()
    monkeypatch.chdir(checkout / "empty")
    words = "in the repository of ppo_mpi and not in an installed package.*PATH/assets/gallery/NAME"
    with pytest.raises(CheckpointError, match=words):
        find_run("gallery/pole", "checkpoints")


def test_nobody_trains_there(checkout: Path):
    with pytest.raises(ConfigError, match=r"nothing is written.*--borrow-from gallery/pole"):
        run_dir("checkpoints", "gallery/pole", "pole")
    for path, agent in {
        "assets/gallery/pole": "assets/gallery/pole",
        "./assets/gallery/another": "gallery/AGENT",
    }.items():
        with pytest.raises(ConfigError, match=rf"nothing is written.*--borrow-from {agent}$"):
            run_dir("checkpoints", path, "pole")
    assert run_dir("checkpoints", "./gallery/pole", "pole") == Path("gallery/pole")


def test_what_is_made_of_an_agent_lies_beside_that_of_runs_with_its_name(checkout: Path):
    own = Path("assets/gallery/pole")
    assert gallery.assets_of(own, "assets") == Path("assets/gallery-pole")
    assert gallery.assets_of(Path("checkpoints/pole"), "assets") == Path("assets/pole")
    assert gallery.holds(own / "step-000000000064")
    assert not gallery.holds(Path("assets/gallery-pole"))
