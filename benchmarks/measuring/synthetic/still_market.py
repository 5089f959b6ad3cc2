"""A simulated market without drift, and shifts and faults to put into a window of it or of any other log."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

N_ITEMS, N_USERS, N_CATEGORIES, N_REGIONS = 800, 300, 8, 4
DAY = 86_400
START = 1_700_000_000  # seconds since 1970
N_TOP = 50

Change = Callable[[pa.Table, pa.Table, pa.Table, np.random.Generator], pa.Table]  # newest, reference, items, rng


class StillMarket:
    """Orders of several lines, long-tailed items and users; each window is a draw from the same distribution."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.prices = rng.lognormal(2, 1, N_ITEMS)
        categories, regions = rng.integers(0, N_CATEGORIES, N_ITEMS), rng.integers(0, N_REGIONS, N_USERS)
        items = {"item_id": _ids("i", np.arange(N_ITEMS)), "category": _ids("c", categories)}
        users = {"user_id": _ids("u", np.arange(N_USERS)), "region": _ids("r", regions)}
        self.items, self.users = conform(pa.table(items), ITEMS, "items"), conform(pa.table(users), USERS, "users")

    def log(self, rng: np.random.Generator, days: int, orders_a_day: int) -> pa.Table:
        """The purchases of `days` days, in schema INTERACTIONS and in time order."""
        n_orders = days * orders_a_day
        order = np.repeat(np.arange(n_orders), rng.poisson(5, n_orders) + 1)
        item, user = _long_tailed(rng, N_ITEMS, 0.9, order.size), _long_tailed(rng, N_USERS, 0.6, n_orders)[order]
        seconds = START + np.sort(rng.random(n_orders))[order] * days * DAY
        columns = {
            "user_id": _ids("u", user),
            "item_id": _ids("i", item),
            "timestamp": pa.array((seconds * 1e6).astype(np.int64)),
            "event": ["purchase"] * order.size,
            "weight": np.ones(order.size, np.float32),
            "order_id": _ids("o", order),
            "quantity": np.ceil(rng.lognormal(1.5, 1, order.size)),
            "unit_price": self.prices[item] * rng.lognormal(0, 0.1, order.size),
        }
        return conform(pa.table(columns), INTERACTIONS, "events")


def shifts() -> Mapping[str, tuple[str, Change]]:
    """Name -> the column that drifts, and the change of the newest window that makes it drift."""
    return {
        "prices x 1.1": ("log_unit_price", times("unit_price", 1.1)),
        "prices x 1.5": ("log_unit_price", times("unit_price", 1.5)),
        "quantities x 1.5": ("log_quantity", times("quantity", 1.5)),
        "quantities x 12": ("log_quantity", times("quantity", 12)),
        "odds of a category x 1.5": ("category", category_odds(1.5)),
        "odds of a category x 2": ("category", category_odds(2)),
        f"10 % of lines moved to the top {N_TOP} items": ("popularity", move_to_top(0.1)),
        f"20 % of lines moved to the top {N_TOP} items": ("popularity", move_to_top(0.2)),
        f"30 % of lines moved to the top {N_TOP} items": ("popularity", move_to_top(0.3)),
    }


def faults() -> Mapping[str, tuple[str, Change]]:
    """Name -> the column that is broken, and the change of the newest window that breaks it."""
    return {
        "5 % of prices lost": ("unit_price", missing("unit_price", 0.05)),
        "15 % of prices lost": ("unit_price", missing("unit_price", 0.15)),
        "all prices lost": ("unit_price", missing("unit_price", 1)),
        "20 % of item ids padded": ("item_id", renamed("item_id", "0{}", 0.2)),
        "all item ids padded": ("item_id", renamed("item_id", "0{}", 1)),
        "20 % of item ids new": ("item_id", renamed("item_id", "new{}", 0.2)),
        "80 % of item ids new": ("item_id", renamed("item_id", "new{}", 0.8)),
        "80 % of user ids new": ("user_id", renamed("user_id", "new{}", 0.8)),
        "no time of day": ("time of day", without_time_of_day),
    }


def times(name: str, factor: float) -> Change:
    """Multiplies a numeric column."""
    return lambda newest, *_: _put(newest, name, pc.multiply(newest[name], factor))


def category_odds(factor: float) -> Change:
    """Resamples the lines, those of the commonest category with `factor` times the odds."""

    def change(newest: pa.Table, _: pa.Table, items: pa.Table, rng: np.random.Generator) -> pa.Table:
        category = pc.take(
            items["category"].combine_chunks(), pc.index_in(newest["item_id"], items["item_id"].combine_chunks())
        )
        commonest = pc.mode(pc.index_in(category, pc.unique(category)))[0]["mode"]
        in_category = pc.fill_null(pc.equal(category, pc.unique(category)[commonest.as_py()]), False).to_numpy()
        odds = np.where(in_category, factor, 1.0)
        return newest.take(np.sort(rng.choice(newest.num_rows, newest.num_rows, p=odds / odds.sum())))

    return change


def move_to_top(share: float) -> Change:
    """Moves a share of the lines to the N_TOP items of the reference, in proportion to their sales there."""

    def change(newest: pa.Table, reference: pa.Table, _: pa.Table, rng: np.random.Generator) -> pa.Table:
        counted = pc.value_counts(reference["item_id"])
        counts = counted.field("counts").to_numpy()
        top = np.argsort(-counts)[:N_TOP]
        sampled = rng.choice(top, newest.num_rows, p=counts[top] / counts[top].sum())
        moved = pa.array(rng.random(newest.num_rows) < share)
        return _put(
            newest, "item_id", pc.if_else(moved, counted.field("values").take(pa.array(sampled)), newest["item_id"])
        )

    return change


def missing(name: str, share: float) -> Change:
    """Sets a share of a column to null."""

    def change(newest: pa.Table, _: pa.Table, __: pa.Table, rng: np.random.Generator) -> pa.Table:
        is_missing = pa.array(rng.random(newest.num_rows) < share)
        return _put(newest, name, pc.if_else(is_missing, pa.scalar(None, newest.schema.field(name).type), newest[name]))

    return change


def renamed(name: str, template: str, share: float) -> Change:
    """Renames a share of the ids, in all their rows, by a template of the old id."""

    def change(newest: pa.Table, _: pa.Table, __: pa.Table, rng: np.random.Generator) -> pa.Table:
        ids = newest[name].combine_chunks().dictionary_encode()
        old = ids.dictionary.to_pylist()
        new = [
            template.format(one) if change_it else one
            for one, change_it in zip(old, rng.random(len(old)) < share, strict=True)
        ]
        return _put(newest, name, pa.array(new).take(ids.indices))

    return change


def without_time_of_day(newest: pa.Table, *_: object) -> pa.Table:
    """Removes the time of day from the time stamps."""
    return _put(newest, "timestamp", pc.floor_temporal(newest["timestamp"], unit="day"))


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def _ids(prefix: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _long_tailed(rng: np.random.Generator, n: int, exponent: float, size: int) -> NDArray[np.int64]:
    """(size,) numbers below n, with a long tail."""
    odds = np.cumsum(1 / np.arange(1.0, n + 1) ** exponent)
    return np.minimum(np.searchsorted(odds, rng.random(size) * odds[-1]), n - 1)
