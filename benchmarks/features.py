"""Measures the cost of features: seconds, peak memory and growth of time with the log size, compared with pandas.

    python benchmarks/features.py [--sizes 1000000 5000000 25000000] [--json]

The log is synthetic and has the shape of MovieLens 25M (one user per 154 events, one item per 424, Zipf popularity), in
orders of five lines, with returns and changed prices. Each kind of feature runs in a separate process from Parquet to
Parquet (co-purchase: to a sparse matrix) under DuckDB's default memory limit on this machine. Peak memory is the
kernel's figure for that process. The exponent is the slope of ln(seconds) over ln(events). The peer is a
straightforward pandas version, run at the smallest size in a separate process. The script starts these processes with
`--one`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from measuring.table import save
from peers.memory import peak_mb

from recommenders.features.co_purchase import baskets_as_of, co_purchase
from recommenders.features.pairs import pair_features
from recommenders.features.sequences import sequences
from recommenders.features.tables import item_features, user_features

SIZES = (1_000_000, 5_000_000, 25_000_000)
AS_OF = datetime(2025, 12, 1, tzinfo=UTC)
MAX_MEGABYTES = 4096.0
MAX_EXPONENT = 1.1
DAY = pd.Timedelta(days=1)
Cost = tuple[float, float, float]  # wall seconds, processor seconds, peak megabytes

# Each random number is the hash of a row number and a salt, so a log is the same on every machine.
EVENTS_SQL = """
    copy (
        select 'u' || (floor({users} * power(hash(o, 1) / 18446744073709551616.0, 2)))::int as user_id,
            'i' || (floor(power({items}.0, hash(n, 2) / 18446744073709551616.0)))::int as item_id,
            timestamptz '2021-01-01 00:00:00+00' + to_seconds((hash(o, 3) % 157680000)::int) as timestamp,
            'purchase' as event, 1::float as weight, 'o' || o as order_id,
            (1 + hash(n, 4) % 9)::double as quantity, (1 + hash(n, 5) % 9900 / 100.0)::double as unit_price,
            if(hash(n, 6) % 50 = 0, 1::double, null) as returned_quantity,
            if(hash(n, 6) % 50 = 0, timestamp + to_days((hash(n, 7) % 60)::int), null) as returned_at
        from (select n, n // 5 as o from range({events}) as places(n))
    ) to '{folder}/events.parquet' (format parquet)
"""
ITEMS_SQL = """
    copy (
        select 'i' || n as item_id, if(version = 0, null, timestamptz '2024-01-01 00:00:00+00') as valid_from,
            'category ' || hash(n, 1) % 40 as category, 'brand ' || hash(n, 2) % 500 as brand,
            1 + hash(n, 3, version) % 9900 / 100.0 as price
        from range(1, {items} + 1) as places(n), range(2) as versions(version) where version = 0 or n % 10 = 0
    ) to '{folder}/items.parquet' (format parquet)
"""
USERS_SQL = """
    copy (select 'u' || n as user_id, 'segment ' || hash(n, 1) % 5 as segment from range({users}) as places(n))
    to '{folder}/users.parquet' (format parquet)
"""


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of events")
    arguments.add_argument("--json", action="store_true", dest="as_json")
    arguments.add_argument("--one", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        run_one(options.one[0], Path(options.one[1]))
        return
    started = time.perf_counter()
    rows = compare(sorted(options.sizes))
    result = {"name": "features", "rows": rows, "versions": versions(), "hardware": hardware()}
    result |= {"seconds": round(time.perf_counter() - started, 1)}
    if options.sizes == SIZES:
        save(result)
    if options.as_json:
        print(json.dumps(result))


def compare(sizes: list[int]) -> list[dict[str, Any]]:
    """Measures every kind at every size and prints each result at once; returns the rows for programs."""
    print(f"{'what':<24} {'events':>12} {'seconds':>9} {'CPU s':>9} {'peak MB':>9}")
    found: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    peers: dict[str, Cost] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            measure(f"log {size}", Path(folder), size)  # separately, so that its memory counts for no kind
            for kind in KINDS:
                found[kind].append(measure(kind, Path(folder), size))
            if size == sizes[0]:
                peers = {kind: measure(f"pandas {kind}", Path(folder), size) for kind in PEERS}
                check_equal(Path(folder))
    return [line for kind in KINDS for line in rows_of_kind(kind, sizes, found[kind], peers.get(kind))]


def make_log(folder: Path, events: int) -> None:
    """Writes events.parquet, items.parquet and users.parquet, as a stream."""
    sizes = {"events": events, "users": max(events // 154, 10), "items": max(events // 424, 10), "folder": folder}
    settings = {"memory_limit": "1GB", "threads": 2, "preserve_insertion_order": False}
    with duckdb.connect(config=settings) as connection:
        for statement in (EVENTS_SQL, ITEMS_SQL, USERS_SQL):
            connection.execute(statement.format(**sizes))


def measure(kind: str, folder: Path, size: int) -> Cost:
    """The cost of one kind in a separate process. Raises CalledProcessError."""
    command = [sys.executable, __file__, "--one", kind, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    wall, processor, megabytes = json.loads(done.stdout)
    print(f"{kind:<24} {size:12,d} {wall:9.1f} {processor:9.1f} {megabytes:9.0f}", flush=True)
    return wall, processor, megabytes


def run_one(kind: str, folder: Path) -> None:
    """Computes one kind and prints its Cost. Processor time is that of all threads, without the imports."""
    started, processor = time.perf_counter(), time.process_time()
    way, _, kind_or_size = kind.rpartition(" ")
    if way == "log":
        make_log(folder, int(kind_or_size))
    else:
        (PEERS if way == "pandas" else KINDS)[kind_or_size](folder)
    print(json.dumps([time.perf_counter() - started, time.process_time() - processor, peak_mb()]))


def items(folder: Path) -> None:
    item_features([folder / "events.parquet"], [folder / "items.parquet"], AS_OF, out=folder / "item.parquet")


def users(folder: Path) -> None:
    events, user_tables, item_tables = ([folder / f"{name}.parquet"] for name in ("events", "users", "items"))
    user_features(events, user_tables, AS_OF, item_tables, out=folder / "user.parquet")


def pairs(folder: Path) -> None:
    pair_features([folder / "events.parquet"], [folder / "items.parquet"], AS_OF, out=folder / "pair.parquet")


def last_items(folder: Path) -> None:
    sequences([folder / "events.parquet"], AS_OF, out=folder / "sequence.parquet")


def co_purchases(folder: Path) -> None:
    co_purchase(baskets_as_of([folder / "events.parquet"], AS_OF)[0])


def pandas_users(folder: Path) -> None:
    """The same features as user_features, in pandas."""
    seen, item_states = pandas_log(folder)
    seen = seen.merge(item_states, on="item_id", how="left")
    lines = seen.groupby(["user_id", "order_id"], as_index=False).agg(
        timestamp=("timestamp", "min"), value=("value", "sum")
    )
    lines = lines.sort_values(["user_id", "timestamp"])
    lines["gap"] = lines.groupby("user_id")["timestamp"].diff() / DAY
    ordered = seen.drop_duplicates(["user_id", "item_id", "order_id"])
    tastes = seen.groupby(["user_id", "category"]).size()
    shares = tastes / tastes.groupby("user_id").transform("sum")
    by_user, orders = seen.groupby("user_id"), lines.groupby("user_id")
    recent = {d: lines[lines["timestamp"] > days_before(d)].groupby("user_id").size() for d in (30, 90)}
    n_items = by_user["item_id"].nunique()
    table = pd.DataFrame(
        {
            "recency_days": (pd.Timestamp(AS_OF) - by_user["timestamp"].max()) / DAY,
            "tenure_days": (pd.Timestamp(AS_OF) - by_user["timestamp"].min()) / DAY,
            "n_orders": orders.size(),
            **{f"n_orders_{d}d": n for d, n in recent.items()},
            "n_items": n_items,
            "spend": by_user["value"].sum(),
            "mean_order_value": orders["value"].mean(),
            "mean_days_between_orders": orders["gap"].mean(),
            "std_days_between_orders": orders["gap"].std(),
            "repeat_share": 1 - n_items / ordered.groupby("user_id").size(),
            "price_level": by_user["price_level"].mean(),
            "category_entropy": -(shares * np.log(shares)).groupby("user_id").sum(),
            "top_category": shares.reset_index(name="share")
            .sort_values(["share", "category"], ascending=[False, True])
            .drop_duplicates("user_id")
            .set_index("user_id")["category"],
            "top_category_share": shares.groupby("user_id").max(),
        }
    )
    user_table = pd.read_parquet(folder / "users.parquet")
    user_table = user_table.merge(table, left_on="user_id", right_index=True, how="left")
    counts = ["n_orders", "n_orders_30d", "n_orders_90d", "n_items"]
    user_table.fillna(dict.fromkeys(counts, 0)).to_parquet(folder / "user-pandas.parquet")


def pandas_pairs(folder: Path) -> None:
    """The same features as pair_features, in pandas."""
    seen, item_states = pandas_log(folder)
    seen = seen.merge(item_states, on="item_id", how="left")
    key = ["user_id", "item_id"]
    visits = seen.groupby([*key, "order_id"], as_index=False).agg(timestamp=("timestamp", "min"))
    visits = visits.sort_values([*key, "timestamp"])
    visits["gap"] = visits.groupby(key)["timestamp"].diff() / DAY
    lines = seen.groupby(key, as_index=False).agg(
        n_events=("timestamp", "size"),
        net_quantity=("kept", "sum"),
        last=("timestamp", "max"),
        first=("timestamp", "min"),
        category=("category", "first"),
        brand=("brand", "first"),
        level=("price_level", "first"),
    )
    gaps = visits.groupby(key, as_index=False).agg(n_orders=("order_id", "size"), mean_interval_days=("gap", "mean"))
    table = lines.merge(gaps, on=key)
    table["recency_days"] = (pd.Timestamp(AS_OF) - table["last"]) / DAY
    table["first_days"] = (pd.Timestamp(AS_OF) - table["first"]) / DAY
    table["item_reorder_days"] = table["item_id"].map(visits.groupby("item_id")["gap"].median())
    expected = table["mean_interval_days"].fillna(table["item_reorder_days"])
    table["days_overdue"] = table["recency_days"] - expected
    for name in ("category", "brand"):
        events = table.groupby(["user_id", name])["n_events"].transform("sum")
        table[f"{name}_share"] = events / table.groupby("user_id")["n_events"].transform("sum")
    table["category_recency_days"] = table.groupby(["user_id", "category"])["recency_days"].transform("min")
    table["price_gap"] = table["level"] - table["user_id"].map(seen.groupby("user_id")["price_level"].mean())
    table.drop(columns=["last", "first", "category", "brand", "level"]).to_parquet(folder / "pair-pandas.parquet")


def pandas_log(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(events up to AS_OF with net quantity and net value, item states as of then with their price level)."""
    events = pd.read_parquet(folder / "events.parquet")
    seen = events[events["timestamp"] <= AS_OF].copy()
    returned = seen["returned_quantity"].where(seen["returned_at"] <= AS_OF, 0.0)
    seen["kept"] = seen["quantity"] - returned
    seen["value"] = seen["kept"] * seen["unit_price"]
    item_states = pd.read_parquet(folder / "items.parquet").sort_values("valid_from", na_position="first")
    item_states = item_states.drop_duplicates("item_id", keep="last")
    rank = item_states.groupby("category")["price"].rank(method="min") - 1
    item_states["price_level"] = rank / (item_states.groupby("category")["price"].transform("size") - 1)
    return seen, item_states[["item_id", "category", "brand", "price_level"]]


def check_equal(folder: Path) -> None:
    """Raises AssertionError unless ours and pandas give the same numbers."""
    for name, key in (("user", ["user_id"]), ("pair", ["user_id", "item_id"])):
        ours = pd.read_parquet(folder / f"{name}.parquet").set_index(key).sort_index()
        theirs = pd.read_parquet(folder / f"{name}-pandas.parquet").set_index(key).sort_index()
        columns = [column for column in ours if column in theirs]
        pd.testing.assert_frame_equal(ours[columns], theirs[columns], check_dtype=False, rtol=1e-6, atol=1e-9)


def days_before(days: int) -> pd.Timestamp:
    """The time `days` days before AS_OF."""
    return pd.Timestamp(AS_OF) - days * DAY


KINDS: dict[str, Callable[[Path], None]] = {
    "items": items,
    "users": users,
    "pairs": pairs,
    "sequences": last_items,
    "co-purchase": co_purchases,
}
PEERS: dict[str, Callable[[Path], None]] = {"users": pandas_users, "pairs": pandas_pairs}


def rows_of_kind(kind: str, sizes: list[int], found: list[Cost], peer: Cost | None) -> list[dict[str, Any]]:
    """The rows of one kind: time, peak memory and growth of time."""
    seconds, processor, megabytes = (np.array(values) for values in zip(*found, strict=True))
    lines = [row(f"{kind}: peak at {sizes[-1]:,}", "MB", megabytes[-1], MAX_MEGABYTES)]
    lines.append(row(f"{kind}: time at {sizes[-1]:,}", "seconds", seconds[-1], None))
    if len(sizes) > 1:
        # other programs on the machine add to the wall time, so the exponent of processor time is given too
        wall, work = (float(np.polyfit(np.log(sizes), np.log(t), 1)[0]) for t in (seconds, processor))
        print(f"{kind:<24} exponent {wall:.2f}, of processor time {work:.2f}, goal at most {MAX_EXPONENT}")
        lines.append(row(f"{kind}: exponent of time", "exponent", wall, MAX_EXPONENT))
        lines.append(row(f"{kind}: exponent of processor time", "exponent", work, None))
    if peer is not None:
        line = row(f"{kind}: time at {sizes[0]:,}", "seconds", seconds[0], None)
        ratio = round(seconds[0] / peer[0], 3)
        lines.append({**line, "peer": "pandas", "peer_value": round(peer[0], 2), "ratio": ratio})
    return lines


def row(what: str, unit: str, ours: float, goal: float | None) -> dict[str, Any]:
    """One row of the table. Lower is better."""
    met = None if goal is None else bool(ours <= goal)
    line = {"what": what, "unit": unit, "ours": round(float(ours), 2), "peer": None, "peer_value": None}
    return {**line, "ratio": None, "goal": goal, "met": met}


def versions() -> dict[str, str]:
    """Versions of the compared libraries."""
    return {name: version(name) for name in ("tradewind", "duckdb", "pandas", "pyarrow", "scipy")} | {
        "python": platform.python_version()
    }


def hardware() -> str:
    """A short description of the machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
