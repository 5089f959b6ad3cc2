"""The schedules: which job runs at which time."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from orchestration.jobs import DRIFT, PARTITION_TAG, PRUNING, RETRAINING, TUNING
from orchestration.resources import Dataset, Datasets
from orchestration.schedules import schedules
from orchestration.settings import Settings
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


def tick(
    schedule: dg.ScheduleDefinition,
    settings: Settings,
    time: datetime,
    instance: dg.DagsterInstance,
    versions: Sequence[object] = (),
) -> object:
    """One tick at a time. versions: those of the registry."""
    given = {"registry": SimpleNamespace(versions=lambda _dataset: versions)}
    given |= {"settings": settings, "datasets": Datasets(settings)}
    with dg.build_schedule_context(instance, scheduled_execution_time=time, resources=given) as context:
        return schedule(context)


@dg.job(name=RETRAINING)
def retraining() -> None: ...


def test_a_night_without_new_data_or_a_new_recipe_trains_nothing(
    tmp_path: Path, make_settings: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    (source := tmp_path / "retail").mkdir()
    (source / "2010-12-01.csv").write_text(HEADER + LINE)
    settings = make_settings(tmp_path / "home", dataset="online_retail", source=source)
    nightly = schedules(settings)[0]
    time, origin = datetime(2026, 1, 1, tzinfo=UTC), (Dataset(settings).data_version(), settings.training.recipe())

    def trained(*given: str) -> object:
        return tick(
            nightly,
            settings,
            time,
            instance,
            [SimpleNamespace(number=3, data_version=given[0], recipe=given[1], feedback_position=None)],
        )

    skipped = trained(*origin)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "version 3 is trained on this data with this recipe already"
    assert isinstance(trained("other data", origin[1]), dg.RunRequest)
    assert isinstance(trained(origin[0], "another recipe"), dg.RunRequest)
    learning = settings.model_copy(update={"feedback_weights": {"purchase": 1.0}})
    Dataset(learning).ingest()
    newest = [SimpleNamespace(number=3, data_version=origin[0], recipe=origin[1], feedback_position=None)]
    assert isinstance(tick(nightly, learning, time, instance, newest), dg.SkipReason)
    event = StoredEvent("e1", "purchase", "17850", "85123A", 1_800_000_000_000_000, 1_800_000_000_000_000)
    FeedbackStore(learning.feedback_store, "online_retail").append([event])
    assert isinstance(tick(nightly, learning, time, instance, newest), dg.RunRequest)
    running = instance.create_run_for_job(
        retraining, status=dg.DagsterRunStatus.STARTED, tags={PARTITION_TAG: "online_retail"}
    )
    assert isinstance(tick(nightly, learning, time, instance, newest), dg.SkipReason)  # it may train on the event
    instance.delete_run(running.run_id)


def test_each_job_runs_at_the_time_that_is_set(
    tmp_path: Path, make_settings: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    given = {
        "retrain_cron": "1 2 * * *",
        "drift_cron": "3 * * * *",
        "prune_cron": "4 5 * * *",
        "tune_cron": "6 7 * * 1",
    }
    settings = make_settings(tmp_path / "home", dataset="online_retail", **given)
    nightly, hourly, weekly, daily = schedules(settings)
    assert (nightly.job_name, nightly.cron_schedule) == (RETRAINING, "1 2 * * *")
    assert (hourly.job_name, hourly.cron_schedule) == (DRIFT, "3 * * * *")
    assert (daily.job_name, daily.cron_schedule) == (PRUNING, "4 5 * * *")
    assert (weekly.job_name, weekly.cron_schedule) == (TUNING, "6 7 * * 1")
    assert weekly.default_status is dg.DefaultScheduleStatus.STOPPED
    assert daily.default_status is dg.DefaultScheduleStatus.RUNNING
    keys = set()
    for schedule in (nightly, hourly, weekly):
        assert schedule.execution_timezone in (None, "UTC")
        for hour in (1, 1, 2):  # the same time twice is one run
            time = datetime(2026, 1, 1, hour, tzinfo=UTC)
            request = tick(schedule, settings, time, instance)
            assert isinstance(request, dg.RunRequest)
            assert request.partition_key == "online_retail"
            keys.add(request.run_key)
    assert len(keys) == 6
