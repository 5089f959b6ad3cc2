"""The schedules: which job runs at which time."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.jobs import DRIFT, RETRAINING
from orchestration.schedules import schedules
from orchestration.settings import Settings


def test_each_job_runs_at_the_time_that_is_set(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    given = {"retrain_cron": "1 2 * * *", "drift_cron": "3 * * * *"}
    settings = make_settings(tmp_path / "home", dataset="online_retail", **given)
    nightly, hourly = schedules(settings)
    assert (nightly.job_name, nightly.cron_schedule) == (RETRAINING, "1 2 * * *")
    assert (hourly.job_name, hourly.cron_schedule) == (DRIFT, "3 * * * *")
    keys = set()
    for schedule in (nightly, hourly):
        assert schedule.execution_timezone in (None, "UTC")
        for hour in (1, 1, 2):  # the same time twice is one run
            time = datetime(2026, 1, 1, hour, tzinfo=UTC)
            context = dg.build_schedule_context(scheduled_execution_time=time, resources={"settings": settings})
            request = schedule(context)
            assert isinstance(request, dg.RunRequest)
            assert request.partition_key == "online_retail"
            keys.add(request.run_key)
    assert len(keys) == 4
