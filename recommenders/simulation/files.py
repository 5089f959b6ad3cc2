"""The built-in data set: a simulated B2B marketplace, written as three files to be read like any other
source.

    buyers.parquet        buyer_id 1..2000, business type, industry, region, annual revenue, credit limit,
                          joined_at, left_at, and what the contract leaves out
    products.parquet      product_id 1..5000, name, description, category, subcategory, brand, price,
                          min_order_quantity, rating, launched_at, ended_at
    order_lines.parquet   order_id, buyer_id, product_id, ordered_at, quantity, unit_price; in time order

The law of the world stands in b2b_market and b2b_orders (docs/world.md tells it shorter). The log holds the last
`n_orders` orders of the simulation; what was bought in the lead-in before them shapes them, as the past of a real
export does. A world with scenarios begins its log where the same world without them would.

Memory is bounded whatever the number of orders: buyers are simulated block after block, each block's lines go to
a file beside the others, and the files are merged some days at a time.
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
from recommenders.simulation.demand import Lines, in_time_order, simulate
from recommenders.simulation.feed import damaged_lines, damaged_products
from recommenders.simulation.market import Ints
from recommenders.simulation.orders import World, make_world
from recommenders.simulation.tables import buyers_table, midnights, numbered, products_table
from recommenders.storage import schema
from recommenders.storage.files import atomic_folder

LARGEST = 200  # a scale: 400,000 buyers and some 100 million lines
BLOCK = 4_000  # buyers whose lines are held at once
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
CHUNK = 500_000  # lines that are merged and written at once, or one day's if those are more


def write_world(folder: Path, scale: float = 1.0, seed: int = 42, scenarios: Sequence[Scenario] = ()) -> None:
    """Writes the world's three files; the folder appears whole or not at all. The same arguments give the same
    bytes.

    Raises ConfigurationError unless 0 < scale <= 200 (at 1 it takes a few seconds; docs/world.md has the rest),
    or if a scenario starts outside the simulated days.
    """
    if not 0 < scale <= LARGEST:
        raise ConfigurationError(
            f"scale of the B2B world is {scale}; it must be above 0 and at most {LARGEST}; 1 is the full world"
        )
    config = replace(WorldConfig.scaled(scale, seed), scenarios=tuple(scenarios))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-blocks-") as blocks,
        atomic_folder(folder) as staging,
        threadpool_limits(limits=1),  # sums in another order would give other bytes
    ):
        write_files(make_world(config), staging, Path(blocks))


def write_files(world: World, folder: Path, blocks: Path, block: int = BLOCK) -> None:
    """Writes the three files into a folder; `blocks` is an empty folder for what is merged."""
    config, newest = world.config, world.eras[-1]
    pq.write_table(buyers_table(config, newest.buyers), folder / "buyers.parquet")
    products = damaged_products(config, products_table(config, newest.products))
    pq.write_table(products, folder / "products.parquet")
    drawn = draw(world, blocks, block)
    first = max(0, _plain_orders(world, drawn, block) - config.n_orders)
    with pq.ParquetWriter(folder / "order_lines.parquet", LINES, compression="zstd") as writer:
        n_orders = 0
        for lines in drawn.chunks():
            opens = np.append(True, (np.diff(lines["day"]) != 0) | (np.diff(lines["buyer"]) != 0))
            order = n_orders + np.cumsum(opens) - 1
            n_orders += int(opens.sum())
            if kept := int((order >= first).sum()):
                table = _lines_table(config, lines[-kept:], order[-kept:] - first)
                writer.write_table(damaged_lines(config, table))


@dataclass(frozen=True, eq=False)
class Drawn:
    """The simulated lines on disk: one file of lines in time order for each block of buyers."""

    files: list[Path]
    starts: list[Ints]  # of each file, (n_days + 1,): where a day's lines begin
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


def draw(world: World, folder: Path, block: int = BLOCK) -> Drawn:
    """Simulates the world into files of that folder, `block` buyers at a time."""
    files, starts, n_orders = [], [], 0
    for first in range(0, world.config.n_buyers, block):
        lines = simulate(world, np.arange(first, min(first + block, world.config.n_buyers)))
        files.append(folder / f"{first}.npy")
        np.save(files[-1], lines)
        starts.append(np.searchsorted(lines["day"], np.arange(world.config.n_days + 1)))
        n_orders += _count_orders(lines)
    return Drawn(files, starts, n_orders)


def _count_orders(lines: Lines) -> int:
    return len(np.unique(lines["buyer"].astype(np.int64) << 16 | lines["day"]))


def _plain_orders(world: World, drawn: Drawn, block: int) -> int:
    """How many orders the world has without its scenarios."""
    if len(world.eras) == 1:
        return drawn.n_orders
    plain = make_world(replace(world.config, scenarios=()))
    rows = np.arange(world.config.n_buyers)
    return sum(_count_orders(simulate(plain, rows[i : i + block])) for i in range(0, len(rows), block))


def _lines_table(config: WorldConfig, lines: Lines, order: Ints) -> pa.Table:
    midnight = midnights(config, lines["day"].astype(np.int64)).cast(pa.int64()).to_numpy()
    return pa.table(
        {
            "order_id": numbered(order),
            "buyer_id": numbered(lines["buyer"].astype(np.int64)),
            "product_id": numbered(lines["product"].astype(np.int64)),
            "ordered_at": pa.array(midnight + lines["second"].astype(np.int64) * 1_000_000).cast(schema.TIME),
            "quantity": lines["quantity"].astype(np.int64),
            "unit_price": lines["unit_price"],
        },
        schema=LINES,
    )
