"""A cluster for the tests of this folder, made once and removed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Hosts, need_namespaces
from slurm import Slurm, need_slurm


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Return three hosts with names, networks and shared memory of their own."""
    need_namespaces()
    hosts = Hosts(3, tmp_path_factory.mktemp("hosts"), subnet=1)
    try:
        hosts.up()
        yield hosts
    finally:
        hosts.down()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Return a Slurm of two nodes."""
    need_slurm()
    need_namespaces()
    folder: Path = tmp_path_factory.mktemp("slurm")
    hosts = Hosts(2, folder, subnet=2)
    cluster = Slurm(hosts, folder)
    try:
        hosts.up()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        hosts.down()
