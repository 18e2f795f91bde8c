"""docs/settings.md is what the sources say, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from docs import make_settings
from ppo_mpi.cli_modes import MODES


@pytest.fixture(scope="module")
def page() -> str:
    return make_settings.page()


def test_the_page_of_settings_is_what_its_script_writes(page):
    written = make_settings.PAGE.read_text(encoding="utf-8")
    assert written == page, "renew it with: python docs/make_settings.py"


def test_every_setting_of_every_mode_has_a_meaning_and_an_anchor(page):
    for mode in MODES:
        for name in make_settings.settings_of(mode):
            (line,) = re.findall(rf'^\| <a id="{mode}-{name}"></a>.*$', page, re.MULTILINE)
            assert len(re.split(r"(?<!\\)\|", line)) == 6, line


def test_every_link_within_the_page_has_its_place(page):
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    places = set(re.findall(r'<a id="([^"]+)">', page))
    places |= {heading.lower().replace(" ", "-") for heading in headings}
    linked = re.findall(r"\]\(#([^)]+)\)", page)
    assert len(linked) > 400
    assert set(linked) <= places


def test_values_are_shown_as_they_are_typed(page):
    for part in (
        "`total_timesteps` ↻ | whole number | 25_000_000 |",
        "`device` ↻ | auto, cpu, cuda | auto |",
        "`value_learning_rate` | number, or none | none |",
        "`shared_torso` | true, false | true |",
        "`hidden_sizes` | whole numbers | 64 64 |",
    ):
        assert part in page
