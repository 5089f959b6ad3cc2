"""Reasons to stop a run on a data set before any model is fitted; each states figures, limit and an example."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from recommenders.datasets.reading.ingest import Counts, most_common_reasons
from recommenders.datasets.reading.lines import text_literal
from recommenders.datasets.reading.relations import show
from recommenders.storage import schema

if TYPE_CHECKING:
    from recommenders.datasets.spec import DatasetSpec, Protocol

MIN_INTERACTIONS = 1_000
DAY = 86_400_000_000  # microseconds

# Users of the test window who can be evaluated: known before the cut, with a relevant event after it.
EVALUATED = """
    select count(distinct user_id) from log
    where time > {cut} and event in ({events}) and user_id in (select user_id from log where time <= {cut}) {items}
"""
SOLD_BEFORE = "and item_id in (select item_id from log where time <= {cut})"


def stop_reasons(spec: "DatasetSpec", counts: Counts, files: Mapping[str, Sequence[Path]]) -> list[str]:
    """The reasons to stop the run, one line each; empty if the models can be fitted. files: Parquet files by table."""
    found = volume_stop_reasons(counts, spec.max_quarantined, files["quarantine"])
    with duckdb.connect() as engine:
        engine.execute("set TimeZone = 'UTC'")
        show(engine, "interactions", files["interactions"], schema.INTERACTIONS)
        engine.execute(
            "create view log as select user_id, item_id, event, epoch_us(timestamp) as time from interactions"
        )
        return found + (_window_stop_reasons if spec.protocol.split == "time_cut" else _latest_stop_reasons)(
            engine, spec.protocol
        )


def volume_stop_reasons(counts: Counts, most: float, quarantine: Sequence[Path] = ()) -> list[str]:
    """Reports too few kept rows, and a share of quarantined rows above `most`. quarantine: files of that table."""
    found = []
    if counts.kept < MIN_INTERACTIONS:
        found.append(
            f"{counts.kept:,} interactions are kept; at least {MIN_INTERACTIONS:,} are needed; use a longer log"
        )
    if counts.quarantined > most * counts.read:
        share = f"{counts.quarantined:,} of {counts.read:,} rows ({counts.quarantined / counts.read:.1%})"
        reasons = f": {'; '.join(most_common_reasons(quarantine))}" if quarantine else ""
        found.append(f"{share} are quarantined; at most {most:.1%} may be (max_quarantined){reasons}")
    return found


def _window_stop_reasons(engine: duckdb.DuckDBPyConnection, protocol: "Protocol") -> list[str]:
    first, last = engine.execute("select min(time), max(time) from log").fetchall()[0]
    window = protocol.test_days * DAY
    if first > last - 2 * window:
        return [
            f"the log spans {(last - first) / DAY:.1f} days; test and validation take {2 * protocol.test_days}, and "
            "training needs events before them; use a longer log or lower protocol.test_days"
        ]
    cut, events = last - window, ", ".join(map(text_literal, protocol.relevant_events))
    items = SOLD_BEFORE.format(cut=cut) if protocol.candidates == "seen_before_cut" else ""
    if engine.execute(EVALUATED.format(cut=cut, events=events, items=items)).fetchall()[0][0]:
        return []
    return [
        f"no user can be evaluated: 0 users with a {' or '.join(protocol.relevant_events)} in the last "
        f"{protocol.test_days} days{' of an item sold before' if items else ''} have events before them; at least 1 "
        "user is needed; use a longer log or change protocol"
    ]


def _latest_stop_reasons(engine: duckdb.DuckDBPyConnection, protocol: "Protocol") -> list[str]:
    most = engine.execute("select max(n) from (select count(*) as n from log group by user_id)").fetchall()[0][0]
    if most > 1:
        return []
    return ["no user has more than 1 event; latest_out needs a user with at least 2; use a longer log"]
