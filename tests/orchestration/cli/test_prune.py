"""`tradewind prune` on a home with a log that is too large."""

import json
from collections.abc import Callable
from pathlib import Path


def test_a_dry_run_deletes_nothing_and_a_pruning_does(tmp_path: Path, run_here: Callable[..., object]) -> None:
    (tmp_path / "logs").mkdir()
    (log := tmp_path / "logs" / "service.log").write_bytes(b"line\n" * 400_000)
    (limits := tmp_path / "retention.yaml").write_text("log_megabytes: 1")
    given = {"home": tmp_path, "TRADEWIND_RETENTION_FILE": str(limits)}
    done = run_here("prune", "--dry-run", **given)
    assert (done.returncode, log.stat().st_size) == (0, 2_000_000), done.stderr
    assert "would go  service.log  2.0 MB: larger than 1 MB" in done.stdout
    done = run_here("prune", "--json", **given)
    assert (done.returncode, log.stat().st_size) == (0, 0), done.stderr
    (found,) = [report for report in json.loads(done.stdout) if report["what"] == "logs"]
    assert [one["name"] for one in found["pruned"]] == ["service.log"]
    limits.write_text("log_megabytes: 0")
    done = run_here("prune", **given)
    assert done.returncode == 2
    assert "log_megabytes: got 0; allowed: a whole number, 1 or more, or null" in done.stderr
    limits.write_text("")
    (tmp_path / "alerts" / "outbox.db").write_bytes(b"this is no database" * 1000)
    done = run_here("prune", **given)
    assert done.returncode == 1
    assert "alerts: " in done.stdout
