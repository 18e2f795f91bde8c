"""The seeds of tests that learn: a change is tried with two, the third by make test-faults."""

from __future__ import annotations

import pytest

SEEDS = [0, 1, pytest.param(2, marks=pytest.mark.faults)]
