"""Tables of the lake as people and programs want them."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from orchestration.settings import Settings


def write_lists(settings: Settings, output: Path | None) -> tuple[Path, int]:
    """The batch lists at `output` (.parquet or .csv), or where the lake keeps them; returns (path, rows)."""
    kept = settings.lake / settings.dataset / "batch_recommendations.parquet"
    table = pq.read_table(kept)
    if output is None:
        return kept, table.num_rows
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = output.with_name(f".{output.name}.new")
    if output.suffix == ".csv":
        pa_csv.write_csv(table, staging)
    else:
        pq.write_table(table, staging)
    staging.replace(output)
    return output, table.num_rows


def describe_tables(settings: Settings) -> dict[str, Any]:
    """Rows, span, density and repeat share of a data set that lies in the lake, and why rows were quarantined."""
    folder = settings.lake / settings.dataset
    with duckdb.connect() as connection:
        for name in ("interactions", "items", "users", "quarantine"):
            connection.from_parquet(str(folder / f"{name}.parquet")).create_view(name)
        events, users, items, first, last = connection.execute(
            "select count(*), count(distinct user_id), count(distinct item_id), min(timestamp)::varchar,"
            " max(timestamp)::varchar from interactions"
        ).fetchall()[0]
        (pairs,) = connection.execute(
            "select count(*) from (select distinct user_id, item_id from interactions)"
        ).fetchall()[0]
        reasons = dict(
            connection.execute("select reason, count(*) from quarantine group by 1 order by 2 desc").fetchall()
        )
        (catalogue,) = connection.execute("select count(*) from items").fetchall()[0]
    return {
        "dataset": settings.dataset,
        "interactions": events,
        "buyers": users,
        "items sold": items,
        "items in catalogue": catalogue,
        "first event": first,
        "last event": last,
        "distinct pairs": pairs,
        "density": round(pairs / max(users * items, 1), 6),
        "repeated share": round(1 - pairs / max(events, 1), 4),
        "quarantined": reasons,
    }
