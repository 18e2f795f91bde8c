"""Every command and every block of Python of the documentation does what its page says.

A page's commands are run in its order, in a folder of its own; a test that is run by itself runs
first what stands above it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from doc_kinds import run_item
from doc_pages import Item, items_in, page_names, text_of
from doc_place import Place
from doc_server import Server
from jobs import job_environment

ITEMS = [item for page in page_names() for item in items_in(page, text_of(page))]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start what runs the commands; nothing of it speaks to a network or to a display."""
    environ = job_environment() | {"WANDB_MODE": "offline", "MPLBACKEND": "agg"}
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    environ.pop("DISPLAY", None)
    environ.setdefault("MUJOCO_GL", "egl")
    server = Server(environ)
    yield server
    server.close()


@pytest.fixture(scope="module")
def place_of(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Place]]:
    """Return what gives each page its folder."""
    places: dict[str, Place] = {}

    def find(page: str) -> Place:
        if page not in places:
            folder = tmp_path_factory.mktemp(page.replace(os.sep, "-"))
            places[page] = Place(page, folder, server)
        return places[page]

    yield find
    for place in places.values():
        place.close()


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_it_runs_as_the_page_says(item: Item, place_of: Callable[[str], Place]):
    place = place_of(item.page)
    for earlier in place.items[: place.items.index(item) + 1]:
        if earlier not in place.outcomes:
            place.outcomes[earlier] = ""
            try:
                run_item(place, earlier)
            except (AssertionError, ValueError) as error:
                place.outcomes[earlier] = str(error)
    problem = place.outcomes[item]
    assert not problem, f"{item}: {item.text}\n{problem}"
