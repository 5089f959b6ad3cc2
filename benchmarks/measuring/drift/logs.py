"""Logs without a change of their own: small simulated markets, and online_retail before its Christmas season."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from measuring.drift.window_changes import with_copies
from monitoring.drift.windows import DAY, Floats
from recommenders.datasets.all_datasets import dataset
from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.market_files import write_files
from recommenders.simulation.purchase_model import make_world

RETAIL = "online_retail"
RETAIL_END = datetime(2011, 10, 1, tzinfo=UTC).timestamp()
N_USERS, N_PRODUCTS, N_ORDERS, DAYS = 300, 500, 50_000, 728  # about 5,000 order lines a week
LAST_DAY = date(2026, 6, 30)


@dataclass(frozen=True, eq=False)
class Log:
    """Events in time order, items (each with a copy under a new id), users, and the time of each event in seconds."""

    events: pa.Table
    items: pa.Table
    users: pa.Table
    seconds: Floats

    @property
    def categories(self) -> list[str]:
        return sorted(pc.unique(self.items["category"]).drop_null().to_pylist())

    def between(self, start: float, end: float) -> pa.Table:
        """The events after the start and up to the end."""
        return self.events.filter(pa.array((self.seconds > start) & (self.seconds <= end)))


def small_world(seed: int, scenarios: Sequence[Scenario] = (), n_orders: int = N_ORDERS, days: int = DAYS) -> Log:
    """A simulated market with weekdays, seasons, launches and users of very different size; with ratings."""
    config = WorldConfig(N_USERS, N_PRODUCTS, n_orders, seed, end=LAST_DAY, days=days, scenarios=tuple(scenarios))
    with tempfile.TemporaryDirectory() as temporary:
        folder, blocks = Path(temporary) / "world", Path(temporary) / "blocks"
        folder.mkdir()
        blocks.mkdir()
        write_files(make_world(config), folder, blocks)
        tables = dataset("custom_b2b").read(folder)
    return _log(with_ratings(tables.interactions, seed), tables.items, tables.users)


def online_retail() -> Log | None:
    """The real log until the end of September; None without TRADEWIND_REAL_DATA."""
    folder = Path(os.environ.get("TRADEWIND_REAL_DATA") or "nowhere") / RETAIL
    if not folder.is_dir():
        return None
    tables = dataset(RETAIL).read(folder)
    before = pc.less(tables.interactions["timestamp"].cast(pa.int64()), int(RETAIL_END * 1e6))
    return _log(tables.interactions.filter(before), tables.items, tables.users)


def with_ratings(events: pa.Table, seed: int) -> pa.Table:
    """The events with ratings of one to five stars, by user, item and chance: custom_b2b has none of its own."""
    rng = np.random.default_rng([seed, 8])
    user, item = (
        events[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in ("user_id", "item_id")
    )
    mean = 3.8 + rng.normal(0, 0.5, user.max() + 1)[user] + rng.normal(0, 0.5, item.max() + 1)[item]
    stars = np.clip(np.round(mean + rng.normal(0, 0.8, user.size)), 1, 5)
    place, field = events.column_names.index("rating"), events.schema.field("rating")
    return events.set_column(place, field, pa.array(stars).cast(field.type))


def _log(events: pa.Table, items: pa.Table, users: pa.Table) -> Log:
    events = events.sort_by("timestamp")
    return Log(events, with_copies(items), users, events["timestamp"].cast(pa.int64()).to_numpy() / 1e6)


def days_before(end: float, days: float) -> float:
    return end - days * DAY
