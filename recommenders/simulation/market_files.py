"""Writes the built-in data set: a simulated B2B marketplace, as three files that are read like any other source.

    buyers.parquet        buyer_id 1..2000, business type, industry, region, annual revenue, credit limit,
                          joined_at, left_at, and what the contract excludes
    products.parquet      product_id 1..5000, name, description, category, subcategory, brand, price,
                          min_order_quantity, rating, launched_at, ended_at
    order_lines.parquet   order_id, buyer_id, product_id, ordered_at, quantity, unit_price; in time order

The purchase model is described in recommenders.simulation.purchase_model and, shorter, in docs/world.md. The log holds
the last `n_orders` orders of the simulation; they depend on the purchases of the lead-in before them, as in an export
of a real log. A world with scenarios begins its log at the same time as the world without them.

Memory does not grow with the number of orders: users are simulated block after block, the lines of each block are
written to one temporary file, and the files are merged some days at a time.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from recommenders.errors import ConfigurationError
from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.feed import damaged_lines, damaged_products
from recommenders.simulation.market import Ints
from recommenders.simulation.order_sampling import Lines, in_time_order, simulate
from recommenders.simulation.purchase_model import World, make_world
from recommenders.simulation.tables import day_starts, ids_from_rows, products_table, users_table
from recommenders.storage import schema
from recommenders.storage.atomic_files import atomic_folder

MAX_SCALE = 200  # 400,000 users and some 100 million lines
BLOCK = 4_000  # users whose lines are in memory at the same time
LINES = pa.schema(
    {
        "order_id": pa.string(),
        "buyer_id": pa.string(),
        "product_id": pa.string(),
        "ordered_at": schema.TIME,
        "quantity": pa.int64(),
        "unit_price": pa.float64(),
    }
)
CHUNK = 500_000  # lines that are merged and written together, or the lines of one day if they are more


def write_world(folder: Path, scale: float = 1.0, seed: int = 42, scenarios: Sequence[Scenario] = ()) -> None:
    """Writes the world's three files; the folder is created in one step or not at all. The same arguments give the
    same bytes.

    Raises ConfigurationError unless 0 < scale <= 200 (scale 1 takes a few seconds; see docs/world.md), or if a
    scenario starts outside the simulated and forecast days.
    """
    if not 0 < scale <= MAX_SCALE:
        raise ConfigurationError(
            f"scale of the B2B world is {scale}; it must be above 0 and at most {MAX_SCALE}; 1 is the full world"
        )
    config = replace(WorldConfig.scaled(scale, seed), scenarios=tuple(scenarios))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-blocks-") as blocks,
        atomic_folder(folder) as staging,
        threadpool_limits(limits=1),  # sums in another order give other bytes
    ):
        write_files(make_world(config), staging, Path(blocks))


def write_files(world: World, folder: Path, blocks: Path, block: int = BLOCK) -> None:
    """Writes the three files into a folder; `blocks` is an empty folder for the temporary files."""
    config, last_era = world.config, world.eras[-1]
    pq.write_table(users_table(config, last_era.users), folder / "buyers.parquet")
    products = damaged_products(config, products_table(config, last_era.products))
    pq.write_table(products, folder / "products.parquet")
    simulated = simulate_to_files(world, blocks, block)
    first = max(0, _orders_without_scenarios(world, simulated, block) - config.n_orders)
    with pq.ParquetWriter(folder / "order_lines.parquet", LINES, compression="zstd") as writer:
        n_orders = 0
        for lines in simulated.chunks():
            starts_order = np.append(True, (np.diff(lines["day"]) != 0) | (np.diff(lines["user"]) != 0))
            order = n_orders + np.cumsum(starts_order) - 1
            n_orders += int(starts_order.sum())
            if n_kept := int((order >= first).sum()):
                table = lines_table(config, lines[-n_kept:], order[-n_kept:] - first)
                writer.write_table(damaged_lines(config, table))


@dataclass(frozen=True, eq=False)
class SimulatedLines:
    """The simulated lines on disk: one file for each block of users, its lines in time order."""

    files: list[Path]
    starts: list[Ints]  # of each file, (n_days + 1,): index of the first line of each day
    n_orders: int

    def chunks(self) -> Iterator[Lines]:
        """All lines in time order, some days at a time."""
        n_lines = np.sum([np.diff(starts) for starts in self.starts], axis=0)  # of each day
        day = 0
        while day < len(n_lines):
            stop = max(day + 1, day + int(np.searchsorted(np.cumsum(n_lines[day:]), CHUNK, side="right")))
            parts = [np.load(f, mmap_mode="r")[s[day] : s[stop]] for f, s in zip(self.files, self.starts, strict=True)]
            if len(lines := np.concatenate(parts)):
                yield in_time_order(lines)
            day = stop


def simulate_to_files(world: World, folder: Path, block: int = BLOCK) -> SimulatedLines:
    """Simulates the world into files of that folder, `block` users at a time."""
    files, starts, n_orders = [], [], 0
    for first in range(0, world.config.n_users, block):
        lines = simulate(world, np.arange(first, min(first + block, world.config.n_users)))
        files.append(folder / f"{first}.npy")
        np.save(files[-1], lines)
        starts.append(np.searchsorted(lines["day"], np.arange(world.config.n_days + 1)))
        n_orders += _count_orders(lines)
    return SimulatedLines(files, starts, n_orders)


def _count_orders(lines: Lines) -> int:
    return len(np.unique(lines["user"].astype(np.int64) << 16 | lines["day"]))


def _orders_without_scenarios(world: World, simulated: SimulatedLines, block: int) -> int:
    """The number of orders of the world without its scenarios."""
    if len(world.eras) == 1:
        return simulated.n_orders
    unchanged = make_world(replace(world.config, scenarios=()))
    rows = np.arange(world.config.n_users)
    return sum(_count_orders(simulate(unchanged, rows[i : i + block])) for i in range(0, len(rows), block))


def lines_table(config: WorldConfig, lines: Lines, order: Ints) -> pa.Table:
    """The table of order_lines.parquet. order: (n_lines,) the number of each line's order, from 0."""
    day_start = day_starts(config, lines["day"].astype(np.int64)).cast(pa.int64()).to_numpy()
    return pa.table(
        {
            "order_id": ids_from_rows(order),
            "buyer_id": ids_from_rows(lines["user"].astype(np.int64)),
            "product_id": ids_from_rows(lines["product"].astype(np.int64)),
            "ordered_at": pa.array(day_start + lines["second"].astype(np.int64) * 1_000_000).cast(schema.TIME),
            "quantity": lines["quantity"].astype(np.int64),
            "unit_price": lines["unit_price"],
        },
        schema=LINES,
    )
