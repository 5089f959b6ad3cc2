"""Measures how often GET /similar finds the true partner of an item on the simulated market.

    python benchmarks/similar_items.py [--quick] [--json]

Some products of custom_b2b have a partner (docs/world.md): the companion of an anchor is added to a quarter of its
orders, and of two substitutes only one is in an order. A hit: the partner is among the ten items that are found. For
comparison, the ten items with the most similar features, and the ten with the most orders in common.
"""

import time
from collections.abc import Callable

import numpy as np
from measuring import result_table
from numpy.typing import NDArray
from predict_path import QUICK_SCALE, make_bundles
from threadpoolctl import threadpool_limits

from recommenders.features.co_purchases import CoPurchases
from recommenders.models.all_models import load
from recommenders.models.content_based import ContentBased
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market import ANCHOR, COMPANION, SUBSTITUTE
from recommenders.simulation.purchase_model import make_world
from serving.lists.similar_items import Kind, SimilarItems

K, SEED = 10, 42
PAIRS: tuple[tuple[str, Kind, int], ...] = (
    ("companions of an anchor", "complements", ANCHOR),
    ("anchors of a companion", "complements", COMPANION),
    ("the other substitute", "substitutes", SUBSTITUTE),
)
Found = Callable[[int], list[int]]


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    options = result_table.arguments(__doc__).parse_args()
    started, scale = time.perf_counter(), QUICK_SCALE if options.quick else 1.0
    model = load(make_bundles(scale, ["content_based"])["content_based"])
    assert isinstance(model, ContentBased)
    with threadpool_limits(1):  # as the market was simulated
        roles, partners = pairs(scale, model.items_.ids.astype(np.int64) - 1)
    similar, everything = SimilarItems(model), np.ones(len(roles), dtype=np.bool_)
    orders = CoPurchases.from_histories(model.histories_, model.dated_)

    def by_features(item: int) -> list[int]:
        columns, cosines = model.cosines(item)
        return [int(column) for column in columns[np.argsort(-cosines, kind="stable")[:K]]]

    def by_orders(item: int) -> list[int]:
        return [int(column) for column in np.argsort(-orders.of(item).together, kind="stable")[:K]]

    rows = []
    for name, kind, role in PAIRS:
        items = np.flatnonzero((roles == role) & (partners >= 0))

        def found(item: int, kind: Kind = kind) -> list[int]:
            return similar.find(kind, item, K, everything).item_columns

        rows.append(result_table.row(f"{name}, {len(items)} items", "hit rate@10", hits(items, partners, found)))
        by_one = by_features if kind == "substitutes" else by_orders
        what = "similar features" if kind == "substitutes" else "common orders"
        rows.append(result_table.row(f"{name}, {what} alone", "hit rate@10", hits(items, partners, by_one)))
    print(result_table.HEAD)
    for line in rows:
        result_table.show(line)
    result_table.finish("similar_items", rows, started, options.as_json, {}, not options.quick)


def pairs(scale: float, products: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The role and the column of the partner (-1: none) of each item of a log; products: their numbers, (n_items,)."""
    market = make_world(WorldConfig.scaled(scale, SEED)).eras[0].products
    columns = np.full(len(market.role), -1)
    columns[products] = np.arange(len(products))
    partners = market.partner[products]
    return market.role[products], np.where(partners >= 0, columns[partners], -1)


def hits(items: NDArray[np.int64], partners: NDArray[np.int64], found: Found) -> float:
    """The share of the items whose partner is found."""
    return float(np.mean([partners[item] in found(int(item)) for item in items]))


if __name__ == "__main__":
    main()
