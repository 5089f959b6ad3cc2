"""Whether features know what came later: the tables cut at a moment, and two feature tables compared.

The cut is made in Arrow, apart from the SQL that makes features, so that one mistake cannot hide in both.
"""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders.features.known import microseconds
from recommenders.storage import schema

TOLERANCE = 1e-9  # relative: sums of floats depend on their order


def events_until(events: pa.Table, as_of: datetime) -> pa.Table:
    """The log as it lay at a moment: rows up to it, and of their returns those up to it."""
    kept = events.filter(_by(events["timestamp"], as_of))
    if "returned_at" not in kept.column_names:
        return kept
    came_back = _by(kept["returned_at"], as_of)
    for name in ("returned_quantity", "returned_at"):
        place = kept.schema.get_field_index(name)
        kept = kept.set_column(place, kept.schema.field(name), pc.if_else(came_back, kept[name], None))
    return kept


def items_until(items: pa.Table, events: pa.Table, as_of: datetime) -> pa.Table:
    """The items' rows that were written by a moment, as far as rows and log tell.

    A row without valid_from does not say when it was written: it counts from the item's launch or first event on,
    because a catalogue read later also lists what came later.
    """
    sold = events.filter(_by(events["timestamp"], as_of))["item_id"].unique()
    began = pc.or_(_by(_times(items, "available_from"), as_of), pc.is_in(items["item_id"], value_set=sold))
    valid_from = _times(items, "valid_from")
    return items.filter(pc.if_else(pc.is_null(valid_from), began, _by(valid_from, as_of)))


def differences(one: pa.Table, other: pa.Table) -> list[str]:
    """In words, where two tables of the same features differ; none if they are equal but for rounding.

    Rows are compared in their order, which feature tables share: by id.
    """
    if one.column_names != other.column_names:
        apart = set(one.column_names) ^ set(other.column_names)
        return [f"columns {', '.join(sorted(apart)) or 'in another order'}"]
    if not one.column(0).equals(other.column(0)):
        return [f"{one.column_names[0]}: {one.num_rows} rows against {other.num_rows}, or other ids"]
    counts = {name: _n_different(one[name], other[name]) for name in one.column_names}
    return [f"{name}: {n} of {one.num_rows} rows" for name, n in counts.items() if n]


def _times(items: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of moments that may be missing, which then are unknown."""
    return items[name] if name in items.column_names else pa.chunked_array([pa.nulls(items.num_rows, schema.TIME)])


def _by(times: pa.ChunkedArray, as_of: datetime) -> pa.ChunkedArray:
    """Which times lie at or before the moment; a null does not."""
    moment = pa.scalar(microseconds(as_of), pa.int64()).cast(schema.TIME)
    return pc.fill_null(pc.less_equal(times.cast(schema.TIME), moment), False)


def _n_different(one: pa.ChunkedArray, other: pa.ChunkedArray) -> int:
    if not pa.types.is_floating(one.type):
        same = pc.fill_null(pc.equal(one, other), False)
        return int(pc.sum(pc.invert(pc.or_(same, pc.and_(pc.is_null(one), pc.is_null(other))))).as_py() or 0)
    left, right = (np.asarray(column.to_numpy(), dtype=np.float64) for column in (one, other))  # null is nan
    return int((~np.isclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)).sum())
