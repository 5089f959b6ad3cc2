"""A broken feed stops a retraining that no person started, once a champion serves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from monitoring.alerts.listing import open_incidents
from monitoring.drift.reviews import Review, Verdict
from orchestration.drift_review import reviews_of
from orchestration.feed_check import feed_is_sound
from orchestration.jobs import DRIFT, RETRAINING
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

NAME = "online_retail"
START = datetime(2026, 1, 1, tzinfo=UTC)


def events(prices: bool) -> pa.Table:
    """A year of purchases; without prices in the last four weeks if the feed is broken."""
    rng, n = np.random.default_rng(0), 6000
    days = np.sort(rng.uniform(0, 365, n))
    price = np.where(prices | (days < 337), rng.uniform(1, 9, n), np.nan)
    columns = {
        "user_id": [f"u{user}" for user in rng.integers(60, size=n)],
        "item_id": [f"i{item}" for item in rng.integers(90, size=n)],
        "timestamp": pa.array(
            [START + timedelta(days=day) for day in days.tolist()], INTERACTIONS.field("timestamp").type
        ),
        "event": ["purchase"] * n,
        "weight": pa.array([1.0] * n, pa.float32()),
        "unit_price": pa.array(price, from_pandas=True),
    }
    return conform(pa.table(columns), INTERACTIONS, "interactions")


@pytest.mark.parametrize(
    ("prices", "job", "cause", "served", "blocks"),
    [
        (False, RETRAINING, "new data", True, True),
        (False, RETRAINING, "schedule", True, True),
        (False, RETRAINING, "new data", False, False),  # the first training
        (False, RETRAINING, "command line", True, False),
        (False, RETRAINING, None, True, False),  # from Dagster's pages
        (False, DRIFT, "schedule", True, False),  # its report has to be made
        (True, RETRAINING, "new data", True, False),
    ],
)
def test_it_stops_what_no_person_started(
    prices: bool,
    job: str,
    cause: str | None,
    served: bool,
    blocks: bool,
    tmp_path: Path,
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(tmp_path, dataset=NAME)
    found = check(settings, prices, job, cause, served)
    assert found.passed == prices
    assert (not found.passed and found.severity is dg.AssetCheckSeverity.ERROR) == blocks
    assert ("unit_price has a value in 0% of the newest events" in str(found.description)) == (not prices)
    assert [one.key for one in open_incidents(settings.alerts.outbox)] == [f"broken feed/{NAME}"] * blocks


def test_a_review_ends_its_alert_and_it_stops_all_the_same(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(tmp_path, dataset=NAME)
    reviews_of(settings).append(Review(NAME, ("feed unit_price",), Verdict.expected, "Ann", "repaired", START, START))
    assert check(settings, False, RETRAINING, "new data", True).severity is dg.AssetCheckSeverity.ERROR
    assert open_incidents(settings.alerts.outbox) == []


def check(settings: Settings, prices: bool, job: str, cause: str | None, served: bool) -> dg.AssetCheckResult:
    """The result of the check in such a run."""
    run = SimpleNamespace(job_name=job, tags={"cause": cause} if cause else {})
    registry = SimpleNamespace(champion=lambda _dataset: "a version" if served else None)
    return feed_is_sound(
        SimpleNamespace(partition_key=NAME, run=run),  # type: ignore[arg-type]
        settings,
        Datasets(settings),
        registry,  # type: ignore[arg-type]
        events(prices),
        ITEMS.empty_table(),
        USERS.empty_table(),
    )
