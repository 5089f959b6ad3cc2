"""The reasons to stop a run are reported before any model is fitted, each with its figures."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.reading.ingest import Counts
from recommenders.datasets.spec import Protocol
from recommenders.datasets.stop_reasons import MIN_INTERACTIONS, stop_reasons
from recommenders.storage import schema

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = Protocol("time_cut", test_days=7)


def reported(folder: Path, events: list[tuple[str, str, float, str]], protocol: Protocol, **counts: Any) -> list[str]:
    """The stop reasons of a log of (user, item, day, event) with one quarantined row."""
    rows = [
        {"user_id": user, "item_id": item, "timestamp": START + timedelta(days=day), "event": event, "weight": 1.0}
        for user, item, day, event in events
    ]
    bad = {"dataset": "x", "file": "x.csv", "line": 7, "reason": "q is not above 0", "raw": "1,a,-1"}
    for name, table, wanted in (("log", rows, schema.INTERACTIONS), ("bad", [bad], schema.QUARANTINE)):
        pq.write_table(schema.conform(pa.Table.from_pylist(table), wanted, name), folder / f"{name}.parquet")
    files = {"interactions": [folder / "log.parquet"], "quarantine": [folder / "bad.parquet"]}
    return stop_reasons(
        replace(DATASETS["online_retail"], protocol=protocol), Counts(**({"read": 2000, "kept": 2000} | counts)), files
    )


FINE = [("1", "a", 0, "purchase"), ("1", "b", 15, "purchase"), ("1", "a", 20, "purchase")]


def test_a_sufficient_log_has_no_stop_reasons(tmp_path: Path) -> None:
    assert reported(tmp_path, FINE, WEEK) == []
    assert reported(tmp_path, FINE, Protocol("latest_out")) == []


@pytest.mark.parametrize(
    ("events", "protocol", "counts", "words"),
    [
        (
            FINE,
            WEEK,
            {"read": MIN_INTERACTIONS - 1, "kept": MIN_INTERACTIONS - 1},
            "999 interactions are kept; at least 1,000",
        ),
        (
            FINE,
            WEEK,
            {"kept": 1840, "quarantined": 160},
            "160 of 2,000 rows (8.0%) are quarantined; at most 5.0% may be (max_quarantined): "
            "1 x q is not above 0 (as in x.csv, line 7: 1,a,-1)",
        ),
        ([FINE[0], ("1", "a", 10, "purchase")], WEEK, {}, "the log spans 10.0 days; test and validation take 14"),
        (
            [*FINE[:2], ("2", "a", 20, "purchase")],
            WEEK,
            {},
            "0 users with a purchase in the last 7 days of an item sold",
        ),
        (
            [*FINE[:2], ("1", "c", 20, "purchase")],
            WEEK,
            {},
            "0 users with a purchase in the last 7 days of an item sold",
        ),
        ([*FINE[:2], ("1", "a", 20, "view")], WEEK, {}, "0 users with a purchase in the last 7 days"),
        (
            [("1", "a", 0, "rating"), ("2", "a", 1, "rating")],
            Protocol("latest_out"),
            {},
            "no user has more than 1 event",
        ),
    ],
)
def test_each_stop_reason_states_its_figures(
    events: list[tuple[str, str, float, str]], protocol: Protocol, counts: dict[str, int], words: str, tmp_path: Path
) -> None:
    (reason,) = reported(tmp_path, events, protocol, **counts)
    assert words in reason
    assert "\n" not in reason
