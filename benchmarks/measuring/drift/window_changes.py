"""Changes of the market and faults of the feed, to put into the newest events of any log.

A change gets the newest events, the events before them, the items and a generator; it returns the newest events,
changed. Lines are moved by copying a line of the reference, so that an item keeps its own price and quantities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Change = Callable[[pa.Table, pa.Table, pa.Table, np.random.Generator], pa.Table]  # newest, reference, items, rng

WEEK = 7 * 86_400_000_000  # microseconds
N_TOP = 50
REFERENCE_WEEKS = 8  # lines are copied from them
NEW = "new "  # prefix of the ids of new items
COPIED = ("item_id", "quantity", "unit_price")


@dataclass(frozen=True)
class Injection:
    """A change and the cause that an alarm should name: column and value of the drift report ("": any value)."""

    change: Change
    column: str
    value: str = ""


def with_copies(items: pa.Table) -> pa.Table:
    """The items and a copy of each one under a new id, which occurs in no event until `new_items` uses it."""
    ids = pc.binary_join_element_wise(NEW, items["item_id"], "")
    return pa.concat_tables([items, items.set_column(0, items.schema.field(0), ids)])


def market_changes(category: str) -> Mapping[str, Injection]:
    """What is promised: name -> the change and its cause. category: the one that grows."""
    return {
        "20 % of lines move to the top items": Injection(move_to_top(0.2), "popularity"),
        "10 % of lines move to one category": Injection(move_to_category(0.1, category), "category", category),
        "rating - 1 on 15 % of lines": Injection(lower_ratings(0.15), "rating"),
        "30 % more orders": Injection(more_orders(0.3), "activity"),
        "10 % of lines are of new items": Injection(new_items(0.1), "new items"),
    }


def smaller_changes(category: str) -> Mapping[str, Injection]:
    """What is measured and not promised."""
    return {
        "10 % of lines move to the top items": Injection(move_to_top(0.1), "popularity"),
        "5 % of lines move to one category": Injection(move_to_category(0.05, category), "category", category),
        "rating - 1 on 7 % of lines": Injection(lower_ratings(0.07), "rating"),
        "15 % more orders": Injection(more_orders(0.15), "activity"),
        "5 % of lines are of new items": Injection(new_items(0.05), "new items"),
        "prices x 1.15": Injection(times("unit_price", 1.15), "unit_price"),
    }


def faults(category: str) -> Mapping[str, Injection]:
    """Broken feeds: name -> the change and the column that is broken."""
    return {
        "prices in cents": Injection(times("unit_price", 100), "unit_price"),
        "quantities x 12": Injection(times("quantity", 12), "quantity"),
        "15 % of prices are lost": Injection(missing("unit_price", 0.15), "unit_price"),
        "all item ids are padded": Injection(renamed("item_id", "0{}", 1), "item_id"),
        "rows come twice": Injection(repeated(1), "row"),
        "a category is missing": Injection(without_category(category), "category"),
        "a day is missing": Injection(without_day, "timestamp"),
        "the clock is 5 hours late": Injection(later(5), "time of day"),
        "no time of day": Injection(without_time_of_day, "time of day"),
    }


def move_to_top(share: float) -> Change:
    """Moves a share of the lines to the N_TOP items of the reference, in proportion to their sales there."""

    def change(newest: pa.Table, reference: pa.Table, _: pa.Table, rng: np.random.Generator) -> pa.Table:
        recent = _recent(reference)
        counted = pc.value_counts(recent["item_id"])
        top = np.argsort(-counted.field("counts").to_numpy(), kind="stable")[:N_TOP]
        is_top = pc.is_in(recent["item_id"], counted.field("values").take(pa.array(top)))
        return _moved(newest, recent.filter(is_top), share, rng)

    return change


def move_to_category(share: float, category: str) -> Change:
    """Moves a share of the lines to items of the category, in proportion to their sales in the reference."""

    def change(newest: pa.Table, reference: pa.Table, items: pa.Table, rng: np.random.Generator) -> pa.Table:
        recent = _recent(reference)
        return _moved(newest, recent.filter(_is_of(recent, items, category)), share, rng)

    return change


def new_items(share: float) -> Change:
    """Moves a share of the lines to copies of N_TOP items that no event names before; see with_copies."""

    def change(newest: pa.Table, reference: pa.Table, _: pa.Table, rng: np.random.Generator) -> pa.Table:
        recent = _recent(reference)
        chosen = pa.array(rng.choice(pc.unique(recent["item_id"]).to_numpy(zero_copy_only=False), N_TOP, replace=False))
        recent = recent.filter(pc.is_in(recent["item_id"], chosen))
        ids = pc.binary_join_element_wise(NEW, recent["item_id"], "")
        return _moved(newest, _put(recent, "item_id", ids), share, rng)

    return change


def lower_ratings(share: float) -> Change:
    """Lowers a share of the ratings by one star, at least to one."""

    def change(newest: pa.Table, _: pa.Table, __: pa.Table, rng: np.random.Generator) -> pa.Table:
        lower = pc.max_element_wise(pc.subtract(newest["rating"], 1), 1)
        chosen = pa.array(rng.random(newest.num_rows) < share)
        return _put(newest, "rating", pc.if_else(chosen, lower, newest["rating"]))

    return change


def more_orders(share: float) -> Change:
    """Adds orders of the weeks before as further orders, whole weeks later."""

    def change(newest: pa.Table, reference: pa.Table, _: pa.Table, rng: np.random.Generator) -> pa.Table:
        recent = _recent(reference)
        orders = pc.unique(recent["order_id"])
        n_added = round(share * pc.count_distinct(newest["order_id"]).as_py())
        added = pa.array(rng.choice(len(orders), n_added, replace=False))
        lines = recent.filter(pc.is_in(recent["order_id"], orders.take(added)))
        times, begin = _times(lines), _times(newest).min()
        n_weeks = max(round((_times(newest).max() - begin) / WEEK), 1)
        codes = lines["order_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        week = rng.integers(n_weeks, size=codes.max() + 1)[codes]
        later = begin + (times - begin) % WEEK + week * WEEK
        lines = _put(lines, "timestamp", pa.array(later).cast(lines.schema.field("timestamp").type))
        lines = _put(lines, "order_id", pc.binary_join_element_wise("added ", lines["order_id"], ""))
        return pa.concat_tables([newest, lines.cast(newest.schema)]).sort_by("timestamp")

    return change


def times(name: str, factor: float) -> Change:
    """Multiplies a numeric column."""
    return lambda newest, *_: _put(newest, name, pc.multiply(newest[name], factor))


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


def repeated(share: float) -> Change:
    """Repeats a share of the rows."""

    def change(newest: pa.Table, _: pa.Table, __: pa.Table, rng: np.random.Generator) -> pa.Table:
        n_copies = 1 + (rng.random(newest.num_rows) < share)
        return newest.take(pa.array(np.repeat(np.arange(newest.num_rows), n_copies)))

    return change


def without_category(category: str) -> Change:
    """Removes the events of a category from a random time in the first week on."""

    def change(newest: pa.Table, _: pa.Table, items: pa.Table, rng: np.random.Generator) -> pa.Table:
        begin = _times(newest).min() + rng.random() * WEEK / 2
        is_gone = _is_of(newest, items, category).to_numpy(zero_copy_only=False) & (_times(newest) > begin)
        return newest.filter(pa.array(~is_gone))

    return change


def without_day(newest: pa.Table, _: pa.Table, __: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Removes one day of the first week, from Monday to Friday."""
    day = _times(newest) // (WEEK // 7)
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
    days = np.unique(day[(weekday < 5) & (day > day.min()) & (day < day.min() + 7)])
    return newest.filter(pa.array(day != rng.choice(days)))


def later(hours: float) -> Change:
    """Moves all times."""

    def change(newest: pa.Table, *_: object) -> pa.Table:
        moved = pa.array(_times(newest) + round(hours * 3_600_000_000))
        return _put(newest, "timestamp", moved.cast(newest.schema.field("timestamp").type))

    return change


def without_time_of_day(newest: pa.Table, *_: object) -> pa.Table:
    """Removes the time of day from the time stamps."""
    return _put(newest, "timestamp", pc.floor_temporal(newest["timestamp"], unit="day"))


def _moved(newest: pa.Table, lines: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
    """The newest events, a share of them with item, quantity and price of random ones of the lines."""
    drawn = pa.array(rng.integers(lines.num_rows, size=newest.num_rows))
    chosen = pa.array(rng.random(newest.num_rows) < share)
    for name in COPIED:
        newest = _put(newest, name, pc.if_else(chosen, lines[name].take(drawn), newest[name]))
    return newest


def _recent(reference: pa.Table) -> pa.Table:
    times = _times(reference)
    return reference.filter(pa.array(times > times.max() - REFERENCE_WEEKS * WEEK))


def _is_of(events: pa.Table, items: pa.Table, category: str) -> pa.Array:
    of_category = items["item_id"].filter(pc.equal(items["category"], category))
    return pc.is_in(events["item_id"], of_category.combine_chunks()).combine_chunks()


def _times(events: pa.Table) -> NDArray[np.int64]:
    times: NDArray[np.int64] = events["timestamp"].cast(pa.int64()).to_numpy()
    return times


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)
