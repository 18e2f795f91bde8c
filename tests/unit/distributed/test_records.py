"""What a rank writes of itself is whole, and no error where it cannot be written."""

from __future__ import annotations

from pathlib import Path

from ppo_mpi.distributed.records import (
    FAILURE,
    HEARTBEAT,
    new_records,
    read_record,
    record_path,
    write_record,
)


def test_a_record_is_read_as_it_was_written_and_leaves_no_other_file(tmp_path: Path):
    write_record(tmp_path, HEARTBEAT, 12, {"phase": "learning"})
    write_record(tmp_path, HEARTBEAT, 12, {"phase": "saving"})
    record = read_record(tmp_path, HEARTBEAT, 12)
    assert record is not None
    assert (record["rank"], record["phase"]) == (12, "saving")
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat_012.json"]


def test_what_cannot_be_written_or_read_is_no_error(tmp_path: Path):
    write_record(tmp_path / "missing", FAILURE, 0, {})
    assert read_record(tmp_path / "missing", FAILURE, 0) is None
    for text in ("", "{", "[1]", "\udcff"):
        path = record_path(tmp_path, FAILURE, 0)
        path.write_bytes(text.encode(errors="surrogateescape"))
        assert read_record(tmp_path, FAILURE, 0) is None


def test_a_new_life_removes_its_ranks_records_only(tmp_path: Path):
    folder = new_records(tmp_path, 0)
    for rank in (0, 1):
        write_record(folder, HEARTBEAT, rank, {})
        write_record(folder, FAILURE, rank, {})
    assert new_records(tmp_path, 1) == new_records(tmp_path, 2) == folder
    assert sorted(p.name for p in folder.iterdir()) == ["failure_000.json", "heartbeat_000.json"]
    assert new_records(tmp_path / "missing", 0) == tmp_path / "missing" / "ranks"
