import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.profile.page import draw, render
from recommenders.datasets.profile.profiling import DatasetProfile, long_tail, profile_tables
from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.errors import DataError

Rows = Sequence[Mapping[str, Any]]
START = datetime(2024, 3, 4, 9, tzinfo=UTC)  # a Monday
PNG = b"\x89PNG"


def at(days: float) -> datetime:
    return START + timedelta(days=days)


def event(user: str, item: str, days: float = 0, **more: Any) -> dict[str, Any]:
    known = {"user_id": user, "item_id": item, "timestamp": at(days), "event": "purchase", "weight": 1.0}
    return known | more


def profile_of(folder: Path, counts: Counts | None = None, **tables: Rows) -> DatasetProfile:
    """The profile of tables in two files each; by default users and items are those of the events."""
    log = tables["interactions"]
    given = {
        "users": [{"user_id": user} for user in sorted({row["user_id"] for row in log})],
        "items": [{"item_id": item} for item in sorted({row["item_id"] for row in log})],
        "quarantine": [],
    } | tables
    files = {}
    for name, schema in TABLES.items():
        files[name] = [folder / f"{name}-{part}.parquet" for part in (0, 1)]
        for part, path in enumerate(files[name]):
            pq.write_table(pa.Table.from_pylist(list(given[name])[part::2], schema=schema), path)
    found = profile_tables(files, counts or Counts(len(log), len(log)), "made")
    assert json.loads(json.dumps(found.to_json()))["dataset"] == "made"
    assert render(found).startswith("# made: profile\n")
    return found


def test_the_log_in_figures(tmp_path: Path) -> None:
    found = profile_of(
        tmp_path,
        interactions=[
            event("ann", "saw", 0, order_id="1"),
            event("ann", "nail", 0, order_id="1"),
            event("ann", "nail", 3, order_id="2"),
            event("bob", "nail", 3.2, event="view"),
            event("bob", "nail", 10),
        ],
        items=[{"item_id": name} for name in ("saw", "nail", "glue")],
        users=[{"user_id": name} for name in ("ann", "bob", "cyd")],
    )
    assert found.log == {
        "events": 5,
        "first_event": "2024-03-04T09:00:00",
        "last_event": "2024-03-14T09:00:00",
        "days": 11,
        "active_days": 3,
        "users": 2,
        "items_sold": 2,
        "items_in_catalogue": 3,
        "users_in_table": 3,
        "pairs": 3,
        "longest_silence": {"from_day": "2024-03-08", "days": 6},
        "density": 0.75,
        "repeat_share": 0.4,
    }
    assert found.events == {"purchase": 4, "view": 1}
    assert found.orders == {"orders": 2, "lines_mean": 1.5, "lines_median": 1.5, "lines_max": 2}
    assert found.activity == {
        "period": "day",
        "starts": ["2024-03-04", "2024-03-07", "2024-03-14"],
        "events": [2, 2, 1],
    }


def test_a_long_log_is_shown_by_week(tmp_path: Path) -> None:
    found = profile_of(tmp_path, interactions=[event("ann", "saw", days) for days in (1, 6, 7, 70)])
    assert found.activity == {
        "period": "week",
        "starts": ["2024-03-04", "2024-03-11", "2024-05-13"],
        "events": [2, 1, 1],
    }
    assert draw(found).startswith(PNG)


def test_users_by_attribute_and_items_by_category(tmp_path: Path) -> None:
    places = {"ann": "north", "bob": "north", "cyd": "south", "dan": None}
    found = profile_of(
        tmp_path,
        interactions=[event("ann", "saw"), event("ann", "nail"), event("cyd", "nail"), event("dan", "nail")],
        users=[{"user_id": user, "region": place} for user, place in places.items()],
        items=[
            {"item_id": "saw", "category": "tools"},
            {"item_id": "nail", "category": "metal", "valid_from": at(0)},
            {"item_id": "nail", "category": "small parts", "valid_from": at(9)},
            {"item_id": "glue", "category": "tools"},
        ],
    )
    assert found.users_by == {
        "region": [
            {"value": "north", "users": 2, "share_of_users": 0.5, "share_of_events": 0.5},
            {"value": "south", "users": 1, "share_of_users": 0.25, "share_of_events": 0.25},
            {"value": None, "users": 1, "share_of_users": 0.25, "share_of_events": 0.25},
        ]
    }
    assert found.items_by_category == [
        {"value": "small parts", "items": 1, "share_of_items": 0.333333, "share_of_events": 0.75},
        {"value": "tools", "items": 2, "share_of_items": 0.666667, "share_of_events": 0.25},
    ]
    assert found.snapshots == {
        "rows": 4,
        "items": 3,
        "times": 2,
        "items_that_changed": 1,
        "first": "2024-03-04T09:00:00",
        "last": "2024-03-13T09:00:00",
    }
    assert "| (unknown) | 1 | 25.0 % | 25.0 % |" in render(found)
    assert "| item snapshots | 4, 2024-03-04 to 2024-03-13; 1 item changed |" in render(found)


def test_many_values_are_summed_up(tmp_path: Path) -> None:
    users = [{"user_id": str(n), "segment": f"s{n // 2}"} for n in range(24)]
    found = profile_of(tmp_path, interactions=[event(str(n), "saw") for n in range(24)], users=users)
    rows = found.users_by["segment"]
    assert [row["value"] for row in rows] == [*sorted(f"s{n}" for n in range(12))[:8], "4 others"]
    assert rows[-1] == {"value": "4 others", "users": 8, "share_of_users": 0.333332, "share_of_events": 0.333332}


def test_returns_and_missing_values(tmp_path: Path) -> None:
    found = profile_of(
        tmp_path,
        interactions=[
            event("ann", "saw", 0, quantity=4.0, returned_quantity=3.0, returned_at=at(2)),
            event("bob", "saw", 0, quantity=1.0),
            event("cyd", "saw", 0),
            event("cyd", "nail", 0),
        ],
        items=[{"item_id": "saw", "title": "Saw"}, {"item_id": "nail"}],
    )
    assert found.returns == {"lines": 1, "share": 0.25, "units": 3.0, "median_days": 2.0}
    assert set(found.missing) == set(TABLES)
    log, items = found.missing["interactions"], found.missing["items"]
    assert (log["user_id"], log["quantity"], log["rating"]) == (0.0, 0.5, 1.0)
    assert (items["title"], items["category"]) == (0.5, 1.0)
    assert found.missing["quarantine"] == {}
    assert "| returned lines | 1 (25.0 %), half of them within 2 days |" in render(found)
    assert "| users | segment, industry, region, annual_revenue, credit_limit | - |" in render(found)


def test_rows_by_outcome_with_an_example_of_each_reason(tmp_path: Path) -> None:
    bad = [
        ("b.csv", 2, "no price", "5,|`x`"),
        ("a.csv", 9, "no price", "later"),
        ("a.csv", 3, "no price", "4,|`y`\n<b>"),
        ("a.csv", 5, "no code", "z" * 1000),
        ("a.parquet", None, "no code", None),
    ]
    quarantine = [dict(zip(("file", "line", "reason", "raw"), row, strict=True)) | {"dataset": "made"} for row in bad]
    counts = Counts(12, 2, merged=1, netted=1, set_aside={"no customer": 3}, quarantined=5)
    found = profile_of(tmp_path, counts, interactions=[event("a", "x"), event("b", "x")], quarantine=quarantine)
    assert found.quarantine == [
        {"reason": "no price", "rows": 3, "file": "a.csv", "line": 3, "raw": "4,|`y`\n<b>"},
        {"reason": "no code", "rows": 2, "file": "a.csv", "line": 5, "raw": "z" * 300},
    ]
    page = render(found)
    assert "| no price | 3 | a.csv, line 3 | `4,\\|'y' <b>` |" in page
    for row in ("read | 12 | 100.0 %", "**kept** | 2 | 16.7 %", "excluded: no customer | 3 | 25.0 %"):
        assert f"| {row} |" in page
    assert found.rows["set_aside"] == {"no customer": 3}


def test_one_event_and_nothing_else(tmp_path: Path) -> None:
    found = profile_of(tmp_path, interactions=[event("ann", "saw")])
    assert (found.log["days"], found.log["longest_silence"], found.log["density"]) == (1, None, 1.0)
    assert (found.long_tail["gini"], found.long_tail["top"]) == (0.0, {})
    assert (found.users_by, found.items_by_category, found.quarantine) == ({}, [], [])
    assert found.returns == {"lines": 0, "share": 0.0, "units": None, "median_days": None}
    page = render(found)
    assert "1 event of 1 user and 1 item, 2024-03-04 to 2024-03-04: 1 day, 1 of them with events." in page
    assert "nan" not in page.lower()
    assert "None" not in page
    assert "| orders |" not in page
    assert "## Quarantine" not in page
    assert draw(found).startswith(PNG)


def test_no_events_at_all(tmp_path: Path) -> None:
    found = profile_of(tmp_path, interactions=[])
    assert (found.log["events"], found.log["density"], found.long_tail["gini"]) == (0, None, None)
    assert "No events." in render(found)
    assert draw(found).startswith(PNG)


def test_damaged_tables_are_an_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    path.write_text("no Parquet")
    with pytest.raises(DataError, match=r"^the tables cannot be read: .*; materialise them again$"):
        profile_tables({name: [path] for name in TABLES}, Counts(1, 1))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=300))
def test_the_long_tail_matches_its_definition(n_events: list[int]) -> None:
    found = long_tail(np.array(n_events))
    n, total, falling = len(n_events), sum(n_events), sorted(n_events, reverse=True)
    differences = sum(abs(one - other) for one in n_events for other in n_events)
    assert found["gini"] == pytest.approx(differences / (2 * n * total), abs=1e-4)
    for part, share in found["top"].items():
        best = math.ceil(n * int(100 * float(part)) / 100)
        assert share == pytest.approx(sum(falling[:best]) / total, abs=1e-4)
    assert len(found["top"]) == sum(n >= least for least in (5, 10, 100))
    x, y = zip(*found["curve"], strict=True)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert list(x) == sorted(x)
    assert list(y) == sorted(y)
    assert all(high >= wide - 1e-5 for wide, high in found["curve"])
    assert len(x) <= 200


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abcde"), st.sampled_from("uvwxyz"), st.integers(0, 400), st.sampled_from(["1", "2", None])
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=10)
@given(EVENTS)
def test_figures_equal_those_of_plain_python(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str, int, str | None]]
) -> None:
    log = [event(user, item, days, order_id=order) for user, item, days, order in events]
    found = profile_of(tmp_path_factory.mktemp("log"), interactions=log)
    pairs, days = {e[:2] for e in events}, {e[2] for e in events}
    a_user = Counter(e[0] for e in events)
    orders = Counter(e[3] for e in events if e[3])
    assert found.log["pairs"] == len(pairs)
    assert found.log["repeat_share"] == pytest.approx(1 - len(pairs) / len(events), abs=1e-4)
    assert (found.log["active_days"], found.log["days"]) == (len(days), max(days) - min(days) + 1)
    assert found.events_a_user["mean"] == pytest.approx(statistics.mean(a_user.values()), abs=1e-5)
    if len(a_user) > 1:
        names = ("first_quartile", "median", "third_quartile")
        quartiles = statistics.quantiles(a_user.values(), method="inclusive")
        assert [found.events_a_user[name] for name in names] == pytest.approx(quartiles)
    assert found.orders["orders"] == len(orders)
    assert found.orders["lines_max"] == (max(orders.values()) if orders else None)
    assert sum(found.activity["events"]) == len(events)


@pytest.mark.real_data
def test_a_real_log_profile_of(real_data: Path, tmp_path: Path) -> None:
    spec = DATASETS["movielens"]
    counts = spec.write_tables(real_data / spec.real_data_folder, tmp_path)
    found = profile_tables({name: [tmp_path / f"{name}.parquet"] for name in TABLES}, counts, spec.name)
    assert (found.log["events"], found.log["users"], found.log["items_sold"]) == (100_836, 610, 9_724)
    assert found.log["repeat_share"] == 0
    assert (found.events_a_user["least"], found.events_a_user["most"]) == (20, 2698)
    assert render(found).startswith("# movielens: profile\n\n100,836 events of 610 users and 9,724 items,")
    assert draw(found).startswith(PNG)
