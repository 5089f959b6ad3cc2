"""Reference and current events as columns of equal length: labels, numbers, and codes of users, items and orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitoring.drift.windows import event_seconds

POPULARITY, ITEM_MIX, NEW_ITEMS, NEW_USERS = "popularity", "item mix", "new items", "new users"
ACTIVITY, ACTIVE_USERS = "activity", "active users"
VOLUMES = (ACTIVITY, ACTIVE_USERS)  # numbers of orders and of users per window; the other columns are of events
NUMBERS = (POPULARITY, "log_unit_price", "log_quantity", "rating")
MAX_LABELS = 30  # the most common; the rest is "other"
FEW_VALUES = 20  # numbers with at most this many values are not clipped
UNIT_FACTOR = 5.0  # from the usual value of an item: prices in cents or quantities in dozens, no market
MIN_USUAL = 3  # events of an item that give its usual value
CLIP = 0.005  # share of each tail: one extreme value must not hide a shift

Rows = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class EncodedLog:
    """Reference and current events as columns of one length n, reference first.

    numbers: float64 (n,), nan where unknown. labels: int32 codes (n,) into names[column], -1 where unknown.
    items, users, orders: int32 codes (n,). seconds: since 1970 (n,). n_reference: the number of reference events.
    """

    n_reference: int
    numbers: Mapping[str, Floats]
    labels: Mapping[str, Codes]
    names: Mapping[str, tuple[str, ...]]
    items: Codes
    users: Codes
    orders: Codes
    seconds: Floats

    @cached_property
    def starts_order(self) -> NDArray[np.bool_]:
        """(n,) whether the event is the first of its order."""
        return _is_first(self.orders, self.seconds)

    @cached_property
    def first_seen(self) -> Mapping[str, Floats]:
        """(n,) time of the first event of each event's item and user, in seconds."""
        return {
            NEW_ITEMS: _first_time(self.items, self.seconds),
            NEW_USERS: _first_time(self.users, self.seconds),
        }

    @cached_property
    def user_half(self) -> NDArray[np.bool_]:
        """(n,) a random half of the users: the popularity of items is learned from the other half (cross-fitting)."""
        in_half: NDArray[np.bool_] = np.random.default_rng(0).random(int(self.users.max()) + 1) < 0.5
        return in_half[self.users]


def encode(reference: pa.Table, current: pa.Table, items: pa.Table, users: pa.Table | None) -> EncodedLog:
    """The tested columns of both tables (schema INTERACTIONS), with attributes of items and users."""
    table = pa.concat_tables([reference, current])
    sources = [("category", "item_id", items), ("segment", "user_id", users), ("region", "user_id", users)]
    labels, names = {}, {}
    for name, key, source in sources:
        if source is not None:
            values = _lookup(table[key], source[key], source[name])
            labels[name], names[name] = _labels(values, reference.num_rows)
    item_codes = _codes(table["item_id"])
    numbers = {
        "log_unit_price": _in_one_unit(_logarithms(table["unit_price"]), item_codes, reference.num_rows),
        "log_quantity": _logarithms(table["quantity"]),
        "rating": _floats(table["rating"]),
    }
    numbers = {name: _clip_tails(values, reference.num_rows) for name, values in numbers.items()}
    seconds = event_seconds(table)
    days = pa.array(np.floor(seconds / 86400).astype(np.int64)).cast(pa.string())
    # Without order ids, the events of a user on one day.
    orders = pc.coalesce(table["order_id"], pc.binary_join_element_wise(table["user_id"], days, " "))
    user_codes, order_codes = (_codes(ids) for ids in (table["user_id"], orders))
    return EncodedLog(reference.num_rows, numbers, labels, names, item_codes, user_codes, order_codes, seconds)


def popularity_places(items: Codes, sold_items: Codes) -> Floats:
    """The place of each item, (n,), from 0 (most popular) to 1: the share of the events sold_items whose items are more
    popular, half of its own events included. So places are 0.5 on average over sold_items.

    nan for items without an event in sold_items, because otherwise every launch of an item counts as a change.
    """
    counts = np.bincount(sold_items, minlength=int(items.max(initial=0)) + 1)
    order = np.argsort(-counts, kind="stable")
    place = np.empty(counts.size)
    place[order] = (np.cumsum(counts[order]) - counts[order] / 2) / max(counts.sum(), 1)
    place[counts == 0] = np.nan
    return place[items]


def _is_first(codes: Codes, seconds: Floats) -> NDArray[np.bool_]:
    order = np.argsort(seconds, kind="stable")
    is_first = np.zeros(codes.size, np.bool_)
    is_first[order[np.unique(codes[order], return_index=True)[1]]] = True
    return is_first


def _first_time(codes: Codes, seconds: Floats) -> Floats:
    is_first = _is_first(codes, seconds)
    first = np.empty(int(codes.max()) + 1)
    first[codes[is_first]] = seconds[is_first]
    return first[codes]


def _lookup(keys: pa.ChunkedArray, known: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.take(values.combine_chunks(), pc.index_in(keys, value_set=known.combine_chunks()))


def _labels(values: pa.ChunkedArray, n_reference: int) -> tuple[Codes, tuple[str, ...]]:
    """Codes and names; labels that are rare in the reference become "other"."""
    counted = pc.value_counts(values.slice(0, n_reference).drop_null())
    names, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
    kept = [names[i] for i in np.argsort(-counts, kind="stable")[:MAX_LABELS]]
    code = pc.index_in(values, value_set=pa.array(kept, pa.string()))
    other = pa.scalar(len(kept), pa.int32())
    code = pc.if_else(pc.is_valid(values), pc.coalesce(code, other), pa.scalar(-1, pa.int32()))
    return code.to_numpy().astype(np.int32), (*kept, "other")


def _codes(values: pa.ChunkedArray) -> Codes:
    indices: Codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
    return indices.astype(np.int32)


def _in_one_unit(logarithms: Floats, items: Codes, n_reference: int) -> Floats:
    """Without the values that are so far from the usual one of their item that the unit is wrong: they are unknown.

    A fault of the feed is no change of the market, and would look like one as long as a window has a few such values.
    If most of the newest values are like that, they stay: then `usual` is wrong, or the feed check finds it.
    """
    usual = usual_values(logarithms, items, n_reference)
    is_far = np.abs(logarithms - usual) >= np.log(UNIT_FACTOR)
    most = 2 * is_far[n_reference:].sum() >= (~np.isnan(logarithms[n_reference:])).sum()
    return logarithms if most else np.where(is_far, np.nan, logarithms)


def usual_values(logarithms: Floats, items: NDArray[Any], n_reference: int) -> Floats:
    """(n,) the median of the reference for each event's item; nan for items with fewer than MIN_USUAL values there."""
    past = pd.Series(logarithms[:n_reference]).groupby(items[:n_reference])
    return np.asarray(past.median().where(past.count() >= MIN_USUAL).reindex(items), np.float64)


def _floats(values: pa.ChunkedArray) -> Floats:
    return np.asarray(values.to_numpy(), np.float64)


def _logarithms(values: pa.ChunkedArray) -> Floats:
    floats = _floats(values)
    return np.log(floats, out=np.full(floats.shape, np.nan), where=floats > 0)


def _clip_tails(values: Floats, n_reference: int) -> Floats:
    known = values[:n_reference][~np.isnan(values[:n_reference])]
    if np.unique(known).size <= FEW_VALUES:
        return values
    return np.clip(values, *np.quantile(known, [CLIP, 1 - CLIP]))
