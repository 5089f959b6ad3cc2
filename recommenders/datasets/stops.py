"""What would stop a run on a data set before a model is trained, with figures, limit and an example."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from recommenders.datasets.reading.ingest import Counts, commonest
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


def stops(spec: "DatasetSpec", counts: Counts, files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Each stop in words; none where a run goes on to the models. files: Parquet files by table name."""
    found = volume_stops(counts, spec.max_quarantined, files["quarantine"])
    with duckdb.connect() as engine:
        engine.execute("set TimeZone = 'UTC'")
        show(engine, "interactions", files["interactions"], schema.INTERACTIONS)
        engine.execute(
            "create view log as select user_id, item_id, event, epoch_us(timestamp) as time from interactions"
        )
        return found + (_window_stops if spec.protocol.split == "time_cut" else _latest_stops)(engine, spec.protocol)


def volume_stops(counts: Counts, most: float, quarantine: Sequence[Path] = ()) -> list[str]:
    """Too few rows kept, or a share of more than `most` of those read in quarantine. quarantine: its files."""
    found = []
    if counts.kept < MIN_INTERACTIONS:
        found.append(
            f"{counts.kept:,} interactions are kept; at least {MIN_INTERACTIONS:,} are needed; bring a longer log"
        )
    if counts.quarantined > most * counts.read:
        share = f"{counts.quarantined:,} of {counts.read:,} rows ({counts.quarantined / counts.read:.1%})"
        why = f": {'; '.join(commonest(quarantine))}" if quarantine else ""
        found.append(f"{share} are quarantined; at most {most:.1%} may be (max_quarantined){why}")
    return found


def _window_stops(engine: duckdb.DuckDBPyConnection, protocol: "Protocol") -> list[str]:
    first, last = engine.execute("select min(time), max(time) from log").fetchall()[0]
    window = protocol.test_days * DAY
    if first > last - 2 * window:
        return [
            f"the log spans {(last - first) / DAY:.1f} days; test and validation take {2 * protocol.test_days}, and "
            "training needs events before them; bring a longer log or lower protocol.test_days"
        ]
    cut, events = last - window, ", ".join(map(text_literal, protocol.relevant_events))
    items = SOLD_BEFORE.format(cut=cut) if protocol.candidates == "seen_before_cut" else ""
    if engine.execute(EVALUATED.format(cut=cut, events=events, items=items)).fetchall()[0][0]:
        return []
    return [
        f"nobody can be evaluated: 0 users with a {' or '.join(protocol.relevant_events)} in the last "
        f"{protocol.test_days} days{' of an item sold before' if items else ''} were seen before them; at least 1 is "
        "needed; bring a longer log or mend protocol"
    ]


def _latest_stops(engine: duckdb.DuckDBPyConnection, protocol: "Protocol") -> list[str]:
    most = engine.execute("select max(n) from (select count(*) as n from log group by user_id)").fetchall()[0][0]
    if most > 1:
        return []
    return ["no user has more than 1 event; latest_out needs a user with at least 2; bring a longer log"]
