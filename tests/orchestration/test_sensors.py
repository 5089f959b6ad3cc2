"""What events start, and what they do not start twice."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from monitoring import alerts
from orchestration import sensors
from orchestration.assets.source import fingerprint
from orchestration.jobs import RETRAINING
from orchestration.sensors import drift_sensor, failure_sensor, new_data_sensor
from orchestration.settings import Settings
from serving.release.registry import Registry

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = "536365,85123A,HEART,6,2010-12-0{day} 08:26:00,2.55,17850.0,United Kingdom\n"


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    """A home whose data set is a folder of daily files, the first of which lies there."""
    source = tmp_path / "retail"
    source.mkdir()
    (source / "2010-12-01.csv").write_text(HEADER + LINE.format(day=1))
    return make_settings(tmp_path / "home", dataset="online_retail", source=source)


def look(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[dg.RunRequest | None, str, str | None]:
    """One tick: (what it requests, why it does not, the new cursor)."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    answer = sensor(context)
    if isinstance(answer, dg.SkipReason):
        return None, answer.skip_message or "", context.cursor
    assert isinstance(answer, dg.RunRequest)
    return answer, "", context.cursor


def test_a_new_file_starts_one_retraining(settings: Settings) -> None:
    sensor = new_data_sensor(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = look(sensor, instance, None)
        assert request is None
        assert "first look" in why
        assert look(sensor, instance, cursor)[0] is None
        assert settings.source is not None
        (settings.source / "2010-12-02.csv").write_text(HEADER + LINE.format(day=2))
        request, _, after = look(sensor, instance, cursor)
        assert request is not None
        assert request.partition_key == "online_retail"
        again, _, _ = look(sensor, instance, cursor)  # a tick that was lost before its cursor was stored
        assert again is not None
        assert again.run_key == request.run_key
        assert look(sensor, instance, after)[0] is None


def test_no_source_is_a_reason_to_wait_not_an_error(settings: Settings) -> None:
    assert settings.source is not None
    shutil.rmtree(settings.source)
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = look(new_data_sensor(settings), instance, None)
    assert request is None
    assert "no such file or folder" in why
    assert cursor is None


def test_new_data_waits_for_a_retraining_under_way(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        start_retraining(instance)
        request, why, cursor = look(new_data_sensor(settings), instance, "another signature")
    assert request is None
    assert "under way" in why
    assert cursor == "another signature"


def test_new_data_that_the_newest_version_knows_starts_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = fingerprint(settings, prepare=False)["version"]
    newest = SimpleNamespace(number=4, tags={"data_version": known})
    monkeypatch.setattr(Registry, "versions", lambda _self, _dataset: [newest])
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = look(new_data_sensor(settings), instance, "another signature")
        assert (request, why) == (None, "version 4 knows these files already")
        assert cursor != "another signature"
        newest.tags["data_version"] = "older"
        request, _, _ = look(new_data_sensor(settings), instance, "another signature")
    assert request is not None


def test_new_data_waits_while_an_earlier_version_is_held(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "held", lambda _settings: True)
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = look(new_data_sensor(settings), instance, "another signature")
    assert request is None
    assert "is held" in why
    assert cursor == "another signature"


def start_retraining(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    cause: str = "new data",
) -> None:
    """A retraining, by default one that runs at this moment, in the instance's books."""

    @dg.job(name=RETRAINING)
    def job() -> None: ...

    tags = {"dagster/partition": "online_retail", "cause": cause}
    instance.create_run_for_job(job, status=status, tags=tags)


def report_drift(
    instance: dg.DagsterInstance, fired: bool, end: str = "2010-12-09T12:00:00+00:00", **more: str
) -> None:
    """A drift report of online_retail in the instance's books."""
    metadata = {"fired": fired, "summary": "prices moved", "window end": end, "data version": "new", **more}
    instance.report_runless_asset_event(
        dg.AssetMaterialization("drift_report", partition="online_retail", metadata=metadata)
    )


def test_drift_starts_one_retraining_a_cause(settings: Settings) -> None:
    sensor = drift_sensor(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "no drift report yet" in look(sensor, instance, None)[1]
        report_drift(instance, fired=True)
        request, why, cursor = look(sensor, instance, None)
        assert request is None
        assert "first look" in why
        report_drift(instance, fired=True)
        request, _, after = look(sensor, instance, cursor)
        assert request is not None
        assert request.tags["cause"] == "drift"
        assert look(sensor, instance, after)[0] is None
        report_drift(instance, fired=True)
        again, _, _ = look(sensor, instance, after)
        assert again is None or again.run_key == request.run_key  # Dagster starts one run a key
        report_drift(instance, fired=True, end="2010-12-10T12:00:00+00:00")
        other, _, _ = look(sensor, instance, after)
        assert other is not None
        assert other.run_key != request.run_key


def test_a_report_of_another_data_set_is_not_looked_at(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("drift_report", partition="custom_b2b"))
        assert look(drift_sensor(settings), instance, "0")[1] == "there is no drift report yet"


def test_a_report_that_does_not_fire_starts_nothing(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, fired=False)
        request, why, _ = look(drift_sensor(settings), instance, "0")
    assert request is None
    assert "no drift" in why


def test_drift_waits_for_a_retraining_under_way(settings: Settings) -> None:
    """The report is looked at again afterwards: the cursor stays."""
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, fired=True)
        start_retraining(instance)
        request, why, cursor = look(drift_sensor(settings), instance, "0")
    assert (request, why, cursor) == (None, "a retraining is under way; looking again when it has ended", "0")


@pytest.mark.parametrize("learned", ["new", "old"])
def test_drift_retrains_only_on_data_that_the_champion_has_not_learned_from(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, learned: str
) -> None:
    champion = SimpleNamespace(number=3, tags={"data_version": learned})
    monkeypatch.setattr(Registry, "champion", lambda _self, _dataset: champion)
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, fired=True)  # on the data version "new"
        request, why, cursor = look(drift_sensor(settings), instance, "0")
    assert cursor != "0"
    if learned == "new":
        assert (request, why) == (None, "version 3 has learned from this data already")
    else:
        assert request is not None
        assert request.run_key == "drift:2010-12-09T12:00:00Z:v3"  # the reference is the champion's


def test_a_broken_feed_starts_no_retraining(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, fired=True, **{"broken feed": "unit_price has a value in 0% of the newest events"})
        request, why, _ = look(drift_sensor(settings), instance, "0")
    assert request is None
    assert why.startswith("no retraining on a broken feed; mend the source first: unit_price has")


def test_drift_cools_down_after_a_retraining_for_drift(settings: Settings) -> None:
    """One started for another cause does not count: it may have come before the drift."""
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, fired=True)
        start_retraining(instance, dg.DagsterRunStatus.SUCCESS, cause="schedule")
        assert look(drift_sensor(settings), instance, "0")[0] is not None
        start_retraining(instance, dg.DagsterRunStatus.FAILURE, cause="drift")
        request, why, _ = look(drift_sensor(settings), instance, "0")
    assert request is None
    assert re.match(r"cooling down until .* failed before", why)


def test_a_failed_run_alerts(settings: Settings) -> None:
    @dg.op
    def breaks() -> None:
        raise ValueError("the file lies")

    @dg.job
    def job() -> None:
        breaks()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, raise_on_error=False, tags={"dagster/partition": "online_retail"}
        )
        (failure,) = [event for event in result.all_events if event.is_job_failure]
        context = dg.build_run_status_sensor_context(
            "failed_runs",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=failure,
        ).for_run_failure()
        failure_sensor(settings)(context)
    (alert,) = alerts.recent(settings.alerts)
    assert alert.severity == "critical"
    assert alert.dataset == "online_retail"
    assert result.run_id in alert.body
