"""Item feature vectors, encoded from the item table (content features)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, hstack

from recommenders.errors import DataError
from recommenders.events.ids import IdMap
from recommenders.features.words import tf_idf
from recommenders.storage import bundle
from recommenders.storage.bundle import Bundle, pack_strings, unpack_strings

if TYPE_CHECKING:  # a serving process needs the type, but not pyarrow
    import pyarrow as pa

# The weight of each block; its square is the maximum share of the block in the cosine of two items.
BLOCK_WEIGHTS = {"category": 0.8, "subcategory": 1.0, "brand": 0.6, "price": 0.5, "rating": 0.2, "words": 0.8}
PRICE_LEVELS = 8
RATING_LEVELS = 4


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """`vectors` (n_items, n_features) float32, each row of norm 1 (0 without features), in the order of the item ids.

    `categories` (n_items,): the category of each item, "" if unknown. `states`: the table in schema.ITEMS from which
    the vectors are encoded, if its items change over time.
    """

    vectors: csr_array
    categories: NDArray[np.str_]
    states: "pa.Table | None" = None

    def as_of(self, moment: datetime, items: IdMap) -> "ItemFeatures":
        """The features of the same `items` as of an earlier time, UTC; self if no changes of items are known."""
        return self if self.states is None else encode_items_as_of(self.states, items, moment)

    def save(self, folder: Path) -> Path:
        """Writes the features as a bundle; returns the folder."""
        parts = {part: getattr(self.vectors, part) for part in ("data", "indices", "indptr")}
        names = {f"categories.{part}": array for part, array in pack_strings(self.categories).items()}
        shape = {"n_items": self.vectors.shape[0], "n_features": self.vectors.shape[1]}
        states = {} if self.states is None else {"states": _packed(self.states)}
        return bundle.write(folder, Bundle("item_features", shape, {**parts, **names, **states}))

    @classmethod
    def load(cls, folder: Path) -> "ItemFeatures":
        """Loads what save() has written. Raises BundleError."""
        content = bundle.read(folder)
        parts = tuple(content.arrays[part] for part in ("data", "indices", "indptr"))
        shape = (content.config["n_items"], content.config["n_features"])
        names = {part: content.arrays[f"categories.{part}"] for part in ("bytes", "ends")}
        states = _unpacked(content.arrays["states"]) if "states" in content.arrays else None
        return cls(csr_array(parts, shape=shape), unpack_strings(names), states)


def encode_items_as_of(table: "pa.Table", items: IdMap, moment: datetime) -> ItemFeatures:
    """The features of `items` as of a time, from a table in schema.ITEMS with one row per state of an item."""
    from recommenders.events.item_states import items_as_of

    changes = table["valid_from"].null_count < table.num_rows
    return replace(encode_items(items_as_of(table, moment), items), states=table if changes else None)


def encode_items(table: "pa.Table", items: IdMap) -> ItemFeatures:
    """The features of `items` from a table in schema.ITEMS. An id that is not in the table gets a row of zeros.

    Blocks: one-hot category, subcategory and brand; price and rating as levels; TF-IDF of title and text.
    Each block of a row is scaled to norm 1, if it has values, and multiplied by its weight. Raises DataError if an id
    occurs twice in the table.
    """
    import pyarrow as pa

    known = IdMap.from_ids(table["item_id"].to_pylist())
    if len(known) != table.num_rows:
        raise DataError(f"items: {table.num_rows - len(known)} item_ids occur twice; keep one row for each item")
    # rows of the table in the order of `items`; take() gives a row of nulls for a missing id
    place = {id_: row for row, id_ in enumerate(table["item_id"].to_pylist())}
    table = table.take(pa.array([place.get(id_) for id_ in items.ids.tolist()], pa.int64()))
    words = [f"{title or ''} {text or ''}" for title, text in _pairs(table, "title", "text")]
    subcategories = [f"{c or ''}/{s}" if s else "" for c, s in _pairs(table, "category", "subcategory")]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_price = np.log(_numbers(table, "price"))
    blocks = {
        "category": _one_hot(_strings(table, "category")),
        "subcategory": _one_hot(np.array(subcategories, dtype=np.str_)),
        "brand": _one_hot(_strings(table, "brand")),
        "price": _levels(log_price, PRICE_LEVELS),
        "rating": _levels(_numbers(table, "rating"), RATING_LEVELS),
        "words": tf_idf(words),
    }
    weighted = [_unit_rows(block) * np.float32(BLOCK_WEIGHTS[name]) for name, block in blocks.items()]
    vectors = _unit_rows(csr_array(hstack(weighted, format="csr", dtype=np.float32)))
    return ItemFeatures(vectors, _strings(table, "category"))


def _packed(table: "pa.Table") -> NDArray[np.uint8]:
    """A table as the bytes of an Arrow stream, for a bundle."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def _unpacked(array: NDArray[np.uint8]) -> "pa.Table":
    """The inverse of _packed()."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.py_buffer(array.tobytes())).read_all()


def _pairs(table: "pa.Table", first: str, second: str) -> Iterable[tuple[str | None, str | None]]:
    return zip(table[first].to_pylist(), table[second].to_pylist(), strict=True)


def _strings(table: "pa.Table", name: str) -> NDArray[np.str_]:
    return np.array([value or "" for value in table[name].to_pylist()], dtype=np.str_)


def _numbers(table: "pa.Table", name: str) -> NDArray[np.float64]:
    """The column as floats, nan for null."""
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def _one_hot(values: NDArray[np.str_]) -> csr_array:
    """(n_items, n_values): one-hot; "" is no value."""
    names, places = np.unique(values, return_inverse=True)
    known = np.flatnonzero(values != "")
    ones = np.ones(len(known), dtype=np.float32)
    return csr_array((ones, (known, places[known])), shape=(len(values), len(names)))


def _levels(values: NDArray[np.float64], n_levels: int) -> csr_array:
    """(n_items, n_levels): each number is split between the two nearest of n_levels quantiles, so that close numbers
    have similar rows.
    """
    known = np.flatnonzero(np.isfinite(values))
    shape = (len(values), n_levels)
    if not len(known):
        return csr_array(shape, dtype=np.float32)
    knots = np.unique(np.quantile(values[known], np.linspace(0, 1, n_levels)))
    # between closer knots the slope of the interpolation would be infinite, and the level not a number
    knots = knots[np.diff(knots, prepend=-np.inf) >= np.finfo(np.float64).tiny]
    place = np.interp(values[known], knots, np.arange(len(knots)))
    low = np.floor(place).astype(np.int64).clip(max=max(len(knots) - 2, 0))
    upper = (place - low).astype(np.float32)
    high = np.minimum(low + 1, len(knots) - 1)
    levels = csr_array(
        (np.concatenate([1 - upper, upper]), (np.tile(known, 2), np.concatenate([low, high]))), shape=shape
    )
    levels.eliminate_zeros()
    return levels


def _unit_rows(block: csr_array) -> csr_array:
    """Each row divided by its norm; rows of zeros do not change."""
    lengths = np.sqrt(np.asarray(block.multiply(block).sum(axis=1)).ravel())
    factors = np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
    return csr_array(diags_array(factors.astype(np.float32)) @ block, dtype=np.float32)
