"""Makes the served catalogue from the clean tables: the newest row of each item and user. No worker imports this."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recommenders.events.item_states import items_as_of
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable, Column, Kind, Texts

# What is served besides the free attributes; not the long text of an item, which would be most of the bytes.
ITEM_COLUMNS: Mapping[str, Kind] = {
    **dict.fromkeys(("title", "category", "subcategory", "brand"), "text"),
    **dict.fromkeys(("price", "rating"), "number"),
}
USER_COLUMNS: Mapping[str, Kind] = {
    **dict.fromkeys(("segment", "industry", "region"), "text"),
    **dict.fromkeys(("annual_revenue", "credit_limit"), "number"),
}
TYPES: Mapping[Kind, pa.DataType] = {"text": pa.string(), "number": pa.float64(), "boolean": pa.bool_()}


def item_attributes(items: pa.Table, declared: Mapping[str, Kind], now: datetime) -> AttributeTable:
    """The attributes of each item: of its newest row that is valid now. items: in schema.ITEMS.

    declared: free attribute -> type; it counts for an attribute of which no item has a value.
    """
    return _attribute_table(items_as_of(items, now), "item_id", ITEM_COLUMNS, declared)


def user_attributes(users: pa.Table, declared: Mapping[str, Kind]) -> AttributeTable:
    """The attributes of each user. users: in schema.USERS; declared as in item_attributes."""
    return _attribute_table(users, "user_id", USER_COLUMNS, declared)


def _attribute_table(
    table: pa.Table, key: str, columns: Mapping[str, Kind], declared: Mapping[str, Kind]
) -> AttributeTable:
    table = table.sort_by(key)
    known = {name: _column(kind, table[name]) for name, kind in columns.items()}
    free = {name: _column(*found) for name, found in _free_values(table["attributes"], declared).items()}
    return AttributeTable(_packed(table[key]), dict(sorted({**known, **free}.items())))


def _free_values(objects: pa.ChunkedArray, declared: Mapping[str, Kind]) -> dict[str, tuple[Kind, pa.Array]]:
    """Free attribute -> its kind and its values. A value of another kind than the first one is missing."""
    rows: list[dict[str, Any]] = [orjson.loads(text) if text else {} for text in objects.to_pylist()]
    names = dict.fromkeys([*declared, *(name for row in rows for name in row)])
    found: dict[str, tuple[Kind, pa.Array]] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        first = next((value for value in values if value is not None), None)
        kind = _kind_of(first) if first is not None else declared.get(name, "text")
        kept = [value if value is not None and _kind_of(value) == kind else None for value in values]
        found[name] = kind, pa.array(kept, TYPES[kind])
    return found


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _column(kind: Kind, values: pa.ChunkedArray | pa.Array) -> Column:
    if kind == "number":
        return Column(kind, np.asarray(pc.fill_null(values, np.nan), dtype=np.float64), NO_TEXTS)
    if kind == "boolean":
        return Column(kind, np.asarray(pc.fill_null(values.cast(pa.int8()), -1), dtype=np.int8), NO_TEXTS)
    texts = pc.unique(values.drop_null()).sort()
    places = pc.fill_null(pc.index_in(values, texts), -1)
    return Column(kind, np.asarray(places, dtype=np.int32), _packed(texts))


def _packed(texts: pa.ChunkedArray | pa.Array) -> Texts:
    """Sorted texts as bytes and ends. Arrow sorts by bytes, as Texts does."""
    return Texts.from_sorted(texts.to_pylist())
