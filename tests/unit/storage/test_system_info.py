"""What a run ran on."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from ppo_mpi.distributed.communicator import Communicator
from ppo_mpi.errors import ConfigError
from ppo_mpi.storage.system_info import system_info, write_system_json


def test_the_description_names_versions_hosts_and_processor() -> None:
    info = system_info(Communicator())
    assert info["python"] == platform.python_version()
    assert {"torch", "numpy"} <= info["packages"].keys()
    assert info["ranks"] == 1
    assert info["hosts"] == {platform.node(): 1}
    assert info["mpi_library"] == Communicator.library
    assert info["cores"] >= 1
    assert info["processor"]
    assert json.loads(json.dumps(info)) == info


def test_each_session_is_added_to_the_list(tmp_path: Path) -> None:
    write_system_json(tmp_path, {"ranks": 1})
    write_system_json(tmp_path, {"ranks": 2})
    found = json.loads((tmp_path / "system.json").read_bytes())
    assert found == {"sessions": [{"ranks": 1}, {"ranks": 2}]}


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "system.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"system\.json is damaged .*mend or remove it"):
        write_system_json(tmp_path, {})
