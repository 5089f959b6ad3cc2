"""The pruning of all stores of a home: dry runs, a busy data set, a store with a problem, and the job."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from monitoring.drift.report import DriftReport, Window
from orchestration.definitions import definitions
from orchestration.jobs import PRUNING
from orchestration.retention import stores
from orchestration.retention.pruning import lines, prune
from orchestration.run_process import PID_TAG, run_lock
from orchestration.settings import Settings
from recommenders.datasets import store as tables
from recommenders.storage.locks import locked

# MLflow 3.17's own tables use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
Limited = Callable[..., Settings]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def fill(settings: Settings, folder: Path, n: int = 3) -> None:
    """Some versions of the tables, and a log of 2 MB."""
    folder.mkdir(exist_ok=True)
    for day in range(1, n + 1):
        row = f"{day},85123A,HEART,6,2010-12-{day:02} 08:26:00,2.55,17850.0,United Kingdom\n"
        (folder / f"{day}.csv").write_text(HEADER + row)
        settings.spec.ingest(folder, settings.tables)
    settings.logs.mkdir(parents=True)
    (settings.logs / "service.log").write_bytes(b"line\n" * 400_000)


def age(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Every version of the tables seems older by some days."""
    real = stores._stored_tables

    def older(store: tables.TableStore) -> list[stores.Stored]:
        return [stores.Stored(one.name, one.at - timedelta(days=days), one.bytes) for one in real(store)]

    monkeypatch.setattr(stores, "_stored_tables", older)
    monkeypatch.setattr(tables, "VACUUM_HOURS", 0)


def content(home: Path) -> dict[str, int]:
    """The files of the data set and of the logs, with their sizes."""
    found = (path for name in ("lake", "logs") for path in (home / name).rglob("*") if path.is_file())
    return {str(path): path.stat().st_size for path in found if path.name != ".run.lock"}


def test_a_dry_run_lists_what_would_go_and_deletes_nothing(
    limited: Limited, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = limited(tables_days=5, log_megabytes=1)
    fill(settings, tmp_path / "retail")
    age(monkeypatch, days=6)
    before = content(settings.home)
    dry = prune(settings, instance, dry_run=True)
    assert content(settings.home) == before
    done = prune(settings, instance)
    assert done == dry
    by_what = {report.what: report for report in done}
    assert [one.stored.name for one in by_what["tables"].pruned] == ["0", "1"]
    assert by_what["tables"].protected == {"2": "the newest"}
    assert [one.stored.name for one in by_what["logs"].pruned] == ["service.log"]
    assert [version.number for version in settings.tables.versions()] == [2]
    assert not any(report.problem or report.skipped for report in done)
    report = by_what["logs"].to_json()
    gone = [{"name": "service.log", "bytes": 2_000_000, "reason": "larger than 1 MB"}]
    assert (report["stored"], report["bytes"], report["pruned"]) == (1, 2_000_000, gone)
    json.dumps([one.to_json() for one in done])
    shown = list(lines(dry, dry_run=True))
    assert "tables of online_retail: 2 of 3 would go, 0.0 MB" in shown
    assert "  would go  service.log  2.0 MB: larger than 1 MB" in shown
    assert "  stays     2: the newest" in shown
    after = content(settings.home)
    assert not any(report.pruned for report in prune(settings, instance))  # a second pruning deletes nothing
    assert content(settings.home) == after


def test_the_version_that_drift_compares_with_and_a_restored_one_stay(
    limited: Limited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = limited()
    fill(settings, tmp_path / "retail", n=4)
    end, window = datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=14)
    current = Window(end - 0.9 * window, end, 10)  # no event in its first hours
    report = DriftReport(False, True, (), Window(None, None, 0), current, (), "", snapshot_id="s1")
    report.save(settings.lake / "online_retail" / "drift_report")
    assert stores._protected_snapshots(settings) == {"s1": "of the newest drift report"}
    newest_first = settings.tables.versions()
    versions = [
        replace(version, created=newest_first[-1].created + 0.75 * place * window)
        for place, version in enumerate(reversed(newest_first))
    ]
    monkeypatch.setattr(tables.TableStore, "versions", lambda _: versions[::-1])
    # the newest window begins between the second and the third version
    assert stores._protected_tables(settings) == {
        "3": "the newest",
        "1": "the drift report compares the newest with it",
    }
    versions[-1] = replace(versions[-1], restored_from=0)
    assert stores._protected_tables(settings)["0"] == "restored"
    replaced = [one.at for one in stores._stored_tables(settings.tables)][1:]
    assert replaced == [version.created for version in versions[:0:-1]]  # aged from the version that came after


def test_a_busy_data_set_is_skipped_and_a_problem_of_a_store_stops_no_other(
    limited: Limited, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = limited(tables_days=5)
    fill(settings, tmp_path / "retail", n=2)
    age(monkeypatch, days=6)
    with locked(run_lock(settings.lake, "online_retail")):
        found = {report.what: report for report in prune(settings, instance)}
        assert {report.dataset for report in found.values() if report.skipped} == {"online_retail"}
        assert found["runs"].skipped == found["versions"].problem == ""
        assert len(settings.tables.versions()) == 2
    (settings.workspace / "project").mkdir(parents=True)
    (settings.workspace / "project" / "metadata.json").write_text("{")
    found = {report.what: report for report in prune(settings, instance)}
    assert "Expecting property name" in found["snapshots"].problem
    assert len(found["tables"].pruned) == 1
    assert len(settings.tables.versions()) == 1
    job = definitions(settings).resolve_job_def(PRUNING)
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "not everything was pruned: snapshots online_retail" in failure.event_specific_data.error.message
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert PID_TAG in run.tags  # a run whose process is gone can be found
    (settings.workspace / "project" / "metadata.json").unlink()
    result = job.execute_in_process(instance=instance)
    logged = [event.user_message for event in instance.all_logs(result.run_id)]
    assert "tables of online_retail: 0 of 1 deleted, 0.0 MB" in logged
