"""Item-item co-purchase: counts within an order or a user, normalised, with the top neighbours of each item."""

from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from recommenders.errors import UnknownNameError
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.as_of import MEMORY_LIMIT, tables_as_of
from recommenders.storage.schema import Rows

Within = Literal["order", "user"]
Norm = Literal["count", "cosine", "lift"]
NORMS = ("count", "cosine", "lift")
WITHIN = ("order", "user")

BLOCK = 256  # items per step: at 60,000 items a dense block of counts has 60 MB
LARGEST = 1000  # items; the cost of a basket is quadratic, and very large baskets carry no information

BASKET_SQL = """
    select distinct dense_rank() over (order by {key}) - 1 as basket, i - 1 as item from log order by basket, item
"""


def baskets(log: Interactions, within: Within = "order") -> csr_array:
    """(n_baskets, n_items) float32 ones: the items of each order, or of each user.

    The log has no order ids, so an order is one visit: all events of a user at one time. Raises UnknownNameError.
    """
    _check("within", within, WITHIN)
    rows = log.user_rows.astype(np.int64)
    if within == "order":
        _, times = np.unique(log.timestamps, return_inverse=True)
        _, rows = np.unique(rows * (times.max(initial=0) + 1) + times, return_inverse=True)
    n_rows = int(rows.max(initial=-1)) + 1
    return _ones(csr_array((np.ones(len(rows), np.float32), (rows, log.item_columns)), shape=(n_rows, len(log.items))))


def baskets_as_of(
    events: Rows, as_of: datetime, within: Within = "order", memory_limit: str = MEMORY_LIMIT
) -> tuple[csr_array, IdMap]:
    """(n_baskets, n_items) float32 ones as of a time, and the item ids of the columns.

    events: in schema.INTERACTIONS, a table or Parquet files; Python reads only two numbers per event, in batches.
    Raises UnknownNameError, and the errors of recommenders.features.as_of.
    """
    _check("within", within, WITHIN)
    with tables_as_of(as_of, events, memory_limit=memory_limit) as connection:
        ids = connection.execute("select item_id from item_ids order by i").fetchnumpy()["item_id"]
        query = BASKET_SQL.format(key="u, o" if within == "order" else "u")
        reader = connection.execute(query).to_arrow_reader(1_000_000)
        parts = [(b["basket"].to_numpy().astype(np.int32), b["item"].to_numpy().astype(np.int32)) for b in reader]
    empty = np.zeros(0, dtype=np.int32)
    rows, columns = (np.concatenate([empty, *(part[axis] for part in parts)]) for axis in (0, 1))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows))])
    matrix = csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(starts) - 1, len(ids)))
    return matrix, IdMap(np.asarray(ids, dtype=np.str_))


def co_purchase(matrix: csr_array, top: int = 100, norm: Norm = "cosine", largest: int = LARGEST) -> csr_array:
    """(n_items, n_items) float32: for each item (row) the `top` items it is bought with most; the diagonal is empty.

    matrix: (n_baskets, n_items) ones, from baskets() or baskets_as_of(); baskets of more than `largest` items are left
    out. count: baskets with both. cosine: count / sqrt(baskets of one x of the other), in [0, 1]. lift: count x
    n_baskets / (baskets of one x of the other); 1 means independence (Brin et al. 1997). Ties: the first columns.
    Raises UnknownNameError.
    """
    _check("norm", norm, NORMS)
    kept = csr_array(matrix[np.diff(matrix.indptr) <= largest])
    sizes = kept.sum(axis=0)
    by_item = csr_array(kept.T)
    n_items = kept.shape[1]
    blocks = []
    for start in range(0, n_items, BLOCK):
        counts = csr_array(by_item[start : start + BLOCK] @ kept)
        rows = np.repeat(np.arange(start, start + counts.shape[0]), np.diff(counts.indptr))
        counts.data *= _factors(norm, sizes[rows], sizes[counts.indices], kept.shape[0])
        counts.data[rows == counts.indices] = 0
        blocks.append(_strongest(counts, top))
    return csr_array(vstack(blocks, format="csr")) if blocks else csr_array((n_items, n_items), dtype=np.float32)


def _factors(
    norm: Norm, one: NDArray[np.float32], other: NDArray[np.float32], n_baskets: int
) -> NDArray[np.float32] | float:
    if norm == "count":
        return 1.0
    product = one.astype(np.float64) * other
    factors: NDArray[np.float32] = ((1 / np.sqrt(product)) if norm == "cosine" else n_baskets / product).astype(
        np.float32
    )
    return factors


def _strongest(block: csr_array, top: int) -> csr_array:
    """The `top` largest entries of each row, of ties the first columns; zeros are dropped."""
    block.eliminate_zeros()
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    order = np.lexsort((block.indices, -block.data, rows))
    place = np.arange(len(order)) - block.indptr[:-1][rows]
    kept = order[place < top]
    return csr_array((block.data[kept], (rows[kept], block.indices[kept])), shape=block.shape)


def _ones(matrix: csr_array) -> csr_array:
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _check(kind: str, got: str, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        raise UnknownNameError(kind, got, allowed)
