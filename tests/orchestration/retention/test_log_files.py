"""A log begins anew while a service writes to it."""

from pathlib import Path

from orchestration.retention.log_files import begin_anew, log_files


def test_a_log_begins_anew_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    with path.open("ab", buffering=0) as service:
        service.write(b"before\n")
        assert [(one.name, one.bytes) for one in log_files(tmp_path)] == [("service.log", 7)]
        begin_anew(path)
        service.write(b"after\n")
    assert path.read_bytes() == b"after\n"
    assert (tmp_path / "service.log.1").read_bytes() == b"before\n"
    (tmp_path / "alerts.jsonl").write_text("{}\n")
    begin_anew(path)
    assert (tmp_path / "service.log.1").read_bytes() == b"after\n"  # one older copy is kept
    assert [(one.name, one.bytes) for one in log_files(tmp_path)] == [("service.log", 0), ("alerts.jsonl", 3)]
    assert log_files(tmp_path / "none") == []
