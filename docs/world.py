"""Prints the tables of docs/world.md: the simulated market compared with a real log, and the ceilings of its metrics.

python docs/world.py            prints both
python docs/world.py --sizes    prints instead time and memory for markets of other scales; the largest takes 15 minutes
python docs/world.py --write    puts what it prints into docs/world.md, between its markers

The real log comes from the folder TRADEWIND_REAL_DATA, if there is one.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommenders.datasets.all_datasets import dataset
from recommenders.datasets.spec import Tables
from recommenders.errors import DataError
from recommenders.evaluation.oracle import Ceiling, world_ceilings
from recommenders.evaluation.writers.markdown import number, table, with_interval
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market_files import write_world
from recommenders.simulation.purchase_model import make_world

PAGE = Path(__file__).with_name("world.md")
SEED = 42
WINDOW = timedelta(days=60)  # of the repeat share
UNMEASURED = "not measured here"


def main(arguments: list[str]) -> None:
    """Measures and prints the tables; with --write also writes them into the page."""
    tables = {"sizes": sizes_table()} if "--sizes" in arguments else market_tables()
    for name, text in tables.items():
        print(f"{name}\n\n{text}\n")
    if "--write" in arguments:
        page = PAGE.read_text()
        for name, text in tables.items():
            page = replaced(page, name, text)
        PAGE.write_text(page)


def market_tables() -> dict[str, str]:
    """The tables about the market at scale 1."""
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder) / "world", seed=SEED)
        simulated = dataset("custom_b2b").read(Path(folder) / "world")
    return {"statistics": statistics_table(simulated, real_log()), "ceilings": ceilings_table(simulated)}


def sizes_table(scales: Sequence[float] = (1, 3, 10, 30, 100)) -> str:
    """One row per scale: the size of the market, and the CPU seconds and peak memory of a process that makes it."""
    head = ["scale", "users", "products", "orders", "lines", "seconds of CPU", "peak memory"]
    return table(head, [size_cells(scale) for scale in scales])


def size_cells(scale: float) -> list[str]:
    """The cells of a scale, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        command = [sys.executable, "-c", MAKE, str(world), str(scale), str(SEED)]
        seconds, megabytes = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        orders = pq.read_table(world / "order_lines.parquet", columns=["order_id"])["order_id"]
        users, products = (pq.read_metadata(world / f"{name}.parquet").num_rows for name in ("buyers", "products"))
        counts = (users, products, pc.count_distinct(orders).as_py(), len(orders))
    return [f"{scale:g}", *(f"{n:,}" for n in counts), f"{seconds:.0f}", f"{megabytes:.0f} MB"]


MAKE = """
import json, sys, time
from pathlib import Path
from recommenders.simulation.market_files import write_world
before = time.process_time()
write_world(Path(sys.argv[1]), scale=float(sys.argv[2]), seed=int(sys.argv[3]))
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # of this program
print(json.dumps([time.process_time() - before, peak / 1024]))
"""


def replaced(page: str, name: str, text: str) -> str:
    """The page with the text between the markers of that name. Raises DataError if they are missing."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise DataError(f"{PAGE.name} has no place for {name}; expected the lines {start} and {end}; add them")
    return pattern.sub(lambda _: f"{start}\n\n{text}\n\n{end}", page)


def real_log() -> Tables | None:
    """The clean tables of online_retail, None if the log is not available."""
    spec = dataset("online_retail")
    folder = Path(os.environ.get("TRADEWIND_REAL_DATA", "")) / spec.real_data_folder
    return spec.read(folder) if "TRADEWIND_REAL_DATA" in os.environ and folder.is_dir() else None


def statistics_table(simulated: Tables, real: Tables | None) -> str:
    """One row per statistic, one column each for the simulated and the real log."""
    logs = [events(tables) if tables else None for tables in (simulated, real)]
    rows = [
        [name, *(UNMEASURED if log is None else measure(log) for log in logs)] for name, measure in STATISTICS.items()
    ]
    return table(["statistic", "custom_b2b", "online_retail"], rows)


def events(tables: Tables) -> pd.DataFrame:
    """One row per order line: user_id, item_id, timestamp, order_id."""
    columns = ["user_id", "item_id", "timestamp", "order_id"]
    lines: pd.DataFrame = tables.interactions.select(columns).to_pandas()
    return lines


def repeat_share(log: pd.DataFrame) -> float:
    """Share of repeat purchases among the user-item pairs of the last 60 days; user and item have earlier events."""
    cut = log["timestamp"].max() - WINDOW
    before, after = log[log["timestamp"] <= cut], log[log["timestamp"] > cut]
    pairs = after[["user_id", "item_id"]].drop_duplicates()
    warm = pairs[pairs["user_id"].isin(before["user_id"]) & pairs["item_id"].isin(before["item_id"])]
    known = pd.MultiIndex.from_frame(before[["user_id", "item_id"]].drop_duplicates())
    return float(pd.MultiIndex.from_frame(warm).isin(known).mean())


def gini(log: pd.DataFrame) -> float:
    """Gini coefficient of the lines of each item sold at least once: 0 all equal, 1 one item has all. Gini 1912."""
    counts = np.sort(log["item_id"].value_counts().to_numpy())
    n = len(counts)
    return float(2 * (np.arange(1, n + 1) * counts).sum() / (n * counts.sum()) - (n + 1) / n)


def orders(log: pd.DataFrame) -> pd.DataFrame:
    """One row per order, in time order for each user."""
    return log.drop_duplicates("order_id").sort_values(["user_id", "timestamp"])


def gaps(log: pd.DataFrame) -> "pd.Series[float]":
    """Days between consecutive orders of a user."""
    apart = orders(log).groupby("user_id")["timestamp"].diff().dropna()
    days: pd.Series[float] = apart.dt.total_seconds() / timedelta(days=1).total_seconds()
    return days


def single_order_users(log: pd.DataFrame) -> float:
    """Share of the users with one order."""
    return float((orders(log)["user_id"].value_counts() == 1).mean())


STATISTICS: dict[str, Callable[[pd.DataFrame], str]] = {
    "order lines": lambda log: f"{len(log):,}",
    "orders": lambda log: f"{log['order_id'].nunique():,}",
    "users with an order": lambda log: f"{log['user_id'].nunique():,}",
    "items sold": lambda log: f"{log['item_id'].nunique():,}",
    "lines an order": lambda log: f"{len(log) / log['order_id'].nunique():.1f}",
    "repeat share over 60 days": lambda log: f"{repeat_share(log):.1%}",
    "Gini of the items' lines": lambda log: number(gini(log)),
    "days between orders, median": lambda log: f"{gaps(log).median():.1f}",
    "days between orders, mean": lambda log: f"{gaps(log).mean():.1f}",
    "orders per user, mean": lambda log: f"{log['order_id'].nunique() / log['user_id'].nunique():.1f}",
    "users with a single order": lambda log: f"{single_order_users(log):.1%}",
}


def ceilings_table(simulated: Tables) -> str:
    """For each view: popularity, the oracle, perfect knowledge."""
    world = make_world(WorldConfig.scaled(1.0, SEED))
    views = world_ceilings(world, simulated.interactions, simulated.items, dataset("custom_b2b").protocol)
    metrics = list(views["all"].oracle)
    rows = [cells for name, view in views.items() for cells in view_rows(name, view, metrics)]
    return table(["view", "users", "ranking", *metrics], rows)


def view_rows(name: str, view: Ceiling, metrics: list[str]) -> list[list[str]]:
    """The three rows of one view."""
    rankings = {"popularity": view.popularity, "oracle": view.oracle}
    rows = [
        [name, str(view.n_users), ranking, *(with_interval(found[m]) for m in metrics)]
        for ranking, found in rankings.items()
    ]
    return [*rows, [name, str(view.n_users), "perfect knowledge", *(number(view.perfect[m]) for m in metrics)]]


if __name__ == "__main__":
    main(sys.argv[1:])
