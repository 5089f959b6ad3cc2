"""The sensor of new data: what it starts, and what it does not start twice."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from orchestration.jobs import RETRAINING
from orchestration.launcher.dagster_internals import origin
from orchestration.resources import Dataset, resources
from orchestration.sensors.new_data import CHANGED, new_data_sensor
from orchestration.settings import Settings
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_reader import collect
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
from serving.settings import PROJECT

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
COPYING = "the files have changed since the last poll; waiting until they stay the same"
ELSEWHERE = dg.DagsterRunStatus.MANAGED  # not executed by Dagster
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = "536365,85123A,HEART,6,2010-12-0{day} 08:26:00,2.55,17850.0,United Kingdom\n"


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    """A home whose data set is a folder of daily files, with the file of the first day."""
    source = tmp_path / "retail"
    source.mkdir()
    (source / "2010-12-01.csv").write_text(HEADER + LINE.format(day=1))
    return make_settings(tmp_path / "home", dataset="online_retail", source=source)


def poll(
    sensor: Callable[[Settings], dg.SensorDefinition],
    settings: Settings,
    instance: dg.DagsterInstance,
    cursor: str | None,
    **replaced: object,
) -> tuple[dg.RunRequest | None, str, str | None]:
    """One tick: (its request, else the reason for none, the new cursor). replaced: resources, by key."""
    given = resources(settings) | replaced
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=given) as context:
        result = sensor(settings)(context)
    if isinstance(result, dg.SkipReason):
        return None, result.skip_message or "", context.cursor
    assert isinstance(result, dg.RunRequest)
    return result, "", context.cursor


def changed(settings: Settings) -> str:
    """The cursor after a poll that found the present files instead of others."""
    return f"others{CHANGED}{Dataset(settings).signature()}"


def test_a_new_file_starts_one_retraining(settings: Settings) -> None:
    sensor = new_data_sensor
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = poll(sensor, settings, instance, None)
        assert request is None
        assert "first poll" in why
        assert poll(sensor, settings, instance, cursor)[0] is None
        assert settings.source is not None
        (settings.source / "2010-12-02.csv").write_text(HEADER)
        request, why, cursor = poll(sensor, settings, instance, cursor)
        assert (request, why) == (None, COPYING)
        (settings.source / "2010-12-02.csv").write_text(HEADER + LINE.format(day=2))  # the rest of the file
        request, why, cursor = poll(sensor, settings, instance, cursor)
        assert (request, why) == (None, COPYING)
        request, _, after = poll(sensor, settings, instance, cursor)
        assert request is not None
        assert request.partition_key == "online_retail"
        again, _, _ = poll(sensor, settings, instance, cursor)  # a tick that was lost before its cursor was stored
        assert again is not None
        assert again.run_key == request.run_key
        assert poll(sensor, settings, instance, after)[0] is None


def test_a_file_that_comes_and_goes_starts_nothing(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        first = poll(new_data_sensor, settings, instance, None)[2]
        assert settings.source is not None
        extra = settings.source / "2010-12-02.csv"
        extra.write_text(HEADER)
        cursor = poll(new_data_sensor, settings, instance, first)[2]
        assert cursor != first
        extra.unlink()
        request, why, cursor = poll(new_data_sensor, settings, instance, cursor)
    assert (request, why, cursor) == (None, "the files are those of the last poll", first)


def test_a_poll_generates_and_downloads_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepared(_: Settings) -> Path:
        raise AssertionError("a poll prepared the source")

    monkeypatch.setattr(Settings, "prepare_source", prepared)
    with dg.DagsterInstance.ephemeral() as instance:
        _, _, cursor = poll(new_data_sensor, settings, instance, None)
        assert settings.source is not None
        (settings.source / "2010-12-02.csv").write_text(HEADER + LINE.format(day=2))
        cursor = poll(new_data_sensor, settings, instance, cursor)[2]
        assert poll(new_data_sensor, settings, instance, cursor)[0] is not None


def test_without_a_source_the_sensor_waits_without_an_error(settings: Settings) -> None:
    assert settings.source is not None
    shutil.rmtree(settings.source)
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = poll(new_data_sensor, settings, instance, None)
    assert request is None
    assert "no such file or folder" in why
    assert cursor is None


@pytest.mark.parametrize("status", [status for status in dg.DagsterRunStatus if status not in (*ENDED, ELSEWHERE)])
def test_new_data_waits_for_a_retraining_that_has_not_ended(settings: Settings, status: dg.DagsterRunStatus) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        start_retraining(instance, status)
        request, why, cursor = poll(new_data_sensor, settings, instance, changed(settings))
    assert request is None
    assert "is running" in why
    assert cursor == changed(settings)


def test_new_data_of_the_newest_version_starts_nothing(settings: Settings) -> None:
    known = Dataset(settings).fingerprint(prepare=False).version
    newest = SimpleNamespace(number=4, data_version=known)
    registry = SimpleNamespace(versions=lambda _dataset: [newest])
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = poll(new_data_sensor, settings, instance, changed(settings), registry=registry)
        assert (request, why) == (None, "version 4 is trained on these files already")
        assert cursor != changed(settings)
        newest.data_version = "older"
        request, _, _ = poll(new_data_sensor, settings, instance, changed(settings), registry=registry)
    assert request is not None


def test_new_data_waits_while_a_restored_version_is_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dataset, "restored_version", lambda _dataset: True)
    with dg.DagsterInstance.ephemeral() as instance:
        request, why, cursor = poll(new_data_sensor, settings, instance, changed(settings))
    assert request is None
    assert "is restored" in why
    assert cursor == changed(settings)


def test_much_new_feedback_starts_one_retraining_and_a_little_does_not(settings: Settings) -> None:
    """The share of the log is 2 of the 4 events of the tables."""
    assert settings.source is not None
    (settings.source / "2010-12-02.csv").write_text(HEADER + "".join(LINE.format(day=day) for day in range(2, 5)))
    learning = settings.model_copy(update={"feedback_weights": {"purchase": 1.0}, "feedback_share": 0.5})
    Dataset(learning).ingest()
    store = FeedbackStore(learning.feedback_store, "online_retail")
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = poll(new_data_sensor, learning, instance, None)[2]
        store.append([bought(1)])
        assert poll(new_data_sensor, learning, instance, cursor) == (
            *(None, "the files are those of the last poll; 1 of 2 feedback events for a retraining", cursor),
        )
        store.append([bought(2)])
        request, _, _ = poll(new_data_sensor, learning, instance, cursor)
        assert request is not None
        assert request.tags["cause"] == "new feedback"
        again, _, _ = poll(new_data_sensor, learning, instance, cursor)
        assert again is not None
        assert again.run_key == request.run_key  # Dagster starts one run per key, also if that run fails
        assert poll(new_data_sensor, settings, instance, cursor)[1] == "the files are those of the last poll"
        collect(Dataset(learning).feedback_store, learning.feedback_files)
        Dataset(learning).ingest()  # as the daily drift report does; no model knows these events yet
        assert "; 2 of 3 feedback events" in poll(new_data_sensor, learning, instance, cursor)[1]
        position = Position(2, store.after(0, ["purchase"], 2)[-1][1].event_id)
        trained = SimpleNamespace(versions=lambda _dataset: [SimpleNamespace(number=4, feedback_position=position)])
        assert "; 0 of 3 feedback events" in poll(new_data_sensor, learning, instance, cursor, registry=trained)[1]
        store.append([bought(number) for number in range(3, 6)])
        later, _, _ = poll(new_data_sensor, learning, instance, cursor, registry=trained)
        assert later is not None
        assert later.run_key != request.run_key
        start_retraining(instance)
        assert "is running" in poll(new_data_sensor, learning, instance, cursor, registry=trained)[1]


def test_feedback_that_the_newest_version_has_starts_nothing(settings: Settings) -> None:
    learning = settings.model_copy(update={"feedback_weights": {"purchase": 1.0}})
    Dataset(learning).ingest()
    FeedbackStore(learning.feedback_store, "online_retail").append([bought(1)])
    collect(Dataset(learning).feedback_store, learning.feedback_files)
    newest = SimpleNamespace(number=4, data_version=Dataset(learning).ingest().data_version)
    registry = SimpleNamespace(versions=lambda _dataset: [newest])
    with dg.DagsterInstance.ephemeral() as instance:
        why = poll(new_data_sensor, learning, instance, changed(learning), registry=registry)[1]
        assert why == "version 4 is trained on these files already"
        newest.data_version = Dataset(settings).fingerprint().version  # without the feedback
        assert poll(new_data_sensor, learning, instance, changed(learning), registry=registry)[0] is not None


def test_a_feedback_store_that_cannot_be_read_does_not_hide_new_files(settings: Settings) -> None:
    broken = {"feedback_weights": {"purchase": 1.0}, "feedback_url": "mysql://host/db"}
    learning = settings.model_copy(update=broken)
    Dataset(settings).ingest()
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = poll(new_data_sensor, learning, instance, None)[2]
        request, why, _ = poll(new_data_sensor, learning, instance, cursor)
        assert request is None
        assert "allowed: sqlite:///FILE or postgresql" in why
        assert learning.source is not None
        (learning.source / "2010-12-02.csv").write_text(HEADER + LINE.format(day=2))
        assert poll(new_data_sensor, learning, instance, changed(learning))[0] is not None


def bought(number: int) -> StoredEvent:
    """A purchase after the events of the source."""
    time = int(datetime(2011, 1, 1, tzinfo=UTC).timestamp() * 1e6) + number
    return StoredEvent(f"e{number}", "purchase", "17850", "85123A", time, time)


def start_retraining(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    cause: str = "new data",
) -> None:
    """A retraining in the instance, by default one that is running."""

    @dg.job(name=RETRAINING)
    def job() -> None: ...

    tags = {"dagster/partition": "online_retail", "cause": cause}
    place = origin(RETRAINING, PROJECT / "workspace.yaml")  # a queued run must have one
    instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=place)
