"""Checks features for leakage: cuts the tables at a time, and compares two feature tables.

The cut uses Arrow filters, before any other code of the features or of the training log runs, so that the same mistake
is unlikely in both.
"""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders.storage import schema

TOLERANCE = 1e-9  # relative: sums of floats depend on their order


def events_until(events: pa.Table, as_of: datetime) -> pa.Table:
    """The events up to as_of; returns after as_of are removed from them."""
    kept = events.filter(_at_or_before(events["timestamp"], as_of))
    if "returned_at" not in kept.column_names:
        return kept
    returned = _at_or_before(kept["returned_at"], as_of)
    for name in ("returned_quantity", "returned_at"):
        place = kept.schema.get_field_index(name)
        kept = kept.set_column(place, kept.schema.field(name), pc.if_else(returned, kept[name], None))
    return kept


def items_until(items: pa.Table, events: pa.Table, as_of: datetime, undated_are_known: bool = False) -> pa.Table:
    """The items' rows that were written by as_of, as far as the rows and the log show it.

    A row without valid_from has no time of writing. It counts from the item's launch, first event or first dated row
    on, because a catalogue that is read later also contains later items. With undated_are_known a row without any date
    counts from the start, as in a protocol whose candidates are the items on sale.
    """
    sold = events.filter(_at_or_before(events["timestamp"], as_of))["item_id"].unique()
    launch, valid_from = _times(items, "available_from"), _times(items, "valid_from")
    began = pc.or_(_at_or_before(launch, as_of), pc.is_in(items["item_id"], value_set=sold))
    began = pc.or_(began, pc.and_(pc.is_null(launch), undated_are_known))
    written = _at_or_before(valid_from, as_of)
    began = pc.or_(began, pc.is_in(items["item_id"], value_set=items.filter(written)["item_id"].unique()))
    return items.filter(pc.if_else(pc.is_null(valid_from), began, written))


def differences(one: pa.Table, other: pa.Table) -> list[str]:
    """Descriptions of the differences of two tables of the same features; empty if they are equal up to rounding.

    Rows are compared in order; feature tables are sorted by id.
    """
    if one.column_names != other.column_names:
        apart = set(one.column_names) ^ set(other.column_names)
        return [f"columns {', '.join(sorted(apart)) or 'in another order'}"]
    if not one.column(0).equals(other.column(0)):
        return [f"{one.column_names[0]}: {one.num_rows} rows against {other.num_rows}, or other ids"]
    counts = {name: _n_different(one[name], other[name]) for name in one.column_names}
    return [f"{name}: {n} of {one.num_rows} rows" for name, n in counts.items() if n]


def _times(items: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of times; nulls if the column is missing."""
    return items[name] if name in items.column_names else pa.chunked_array([pa.nulls(items.num_rows, schema.TIME)])


def _at_or_before(times: pa.ChunkedArray, as_of: datetime) -> pa.ChunkedArray:
    """Whether each time is at or before as_of; False for null."""
    return pc.fill_null(pc.less_equal(times.cast(schema.TIME), pa.scalar(as_of, schema.TIME)), False)


def _n_different(one: pa.ChunkedArray, other: pa.ChunkedArray) -> int:
    if not pa.types.is_floating(one.type):
        same = pc.fill_null(pc.equal(one, other), False)
        return int(pc.sum(pc.invert(pc.or_(same, pc.and_(pc.is_null(one), pc.is_null(other))))).as_py() or 0)
    left, right = (np.asarray(column.to_numpy(), dtype=np.float64) for column in (one, other))  # null is nan
    return int((~np.isclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)).sum())
