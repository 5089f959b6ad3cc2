"""The features of a training log as tables, for people: the numbers that the ranker reads, beside what they describe.

The numbers are computed by the functions that the ranker calls (recommenders.features.ranking), from the same log. All
of them are as of the log's newest event.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.item_states import items_as_of
from recommenders.features.feature_descriptions import ITEM_ATTRIBUTES, USER_ATTRIBUTES, Feature
from recommenders.features.ranking import (
    ITEM_FEATURES,
    PAIR_FEATURES,
    USER_FEATURES,
    Matrix,
    UserPairFeatures,
    category_numbers,
    feature_horizon_days,
    mean_item_intervals,
    ranker_item_features,
)


def item_features(log: Interactions, items: pa.Table) -> pa.Table:
    """One row per item of the log, sorted by id: item_id, ITEM_ATTRIBUTES, and ITEM_FEATURES as float32.

    items: in schema.ITEMS. The attributes are those of the item's state at the newest event; null if unknown.
    """
    attributes = _attributes(items_as_of(items, log.last_event), "item_id", log.items, ITEM_ATTRIBUTES)
    values = ranker_item_features(log, feature_horizon_days(log))
    return _table({"item_id": log.items.ids}, attributes, ITEM_FEATURES, values)


def user_features(log: Interactions, users: pa.Table) -> pa.Table:
    """One row per user of the log, sorted by id: user_id, USER_ATTRIBUTES, and USER_FEATURES as float32.

    users: in schema.USERS. An attribute of a user that is not in that table is null.
    """
    attributes = _attributes(users, "user_id", log.users, USER_ATTRIBUTES)
    return _table({"user_id": log.users.ids}, attributes, USER_FEATURES, UserPairFeatures.from_log(log).users)


def pair_features(log: Interactions, items: pa.Table, user_rows: NDArray[np.int64]) -> pa.Table:
    """One row per pair of these users and the items they had: user_id, item_id, and PAIR_FEATURES as float32.

    user_rows: (n,) rows of the log's users. items: in schema.ITEMS; the categories are those at the newest event.
    """
    user_pairs = UserPairFeatures.from_log(log, user_rows)
    known = user_pairs.histories.known_items
    columns = known.item_columns.astype(np.int32)
    category = _aligned(items_as_of(items, log.last_event), "item_id", log.items)["category"]
    categories = category_numbers(pc.fill_null(category, "").to_numpy().astype(np.str_))
    intervals = mean_item_intervals(log, feature_horizon_days(log))
    ids = {"user_id": log.users.ids[user_rows][known.rows], "item_id": log.items.ids[columns]}
    return _table(ids, {}, PAIR_FEATURES, user_pairs.pairs(known.rows, columns, intervals, categories))


def _attributes(table: pa.Table, key: str, ids: IdMap, attributes: tuple[Feature, ...]) -> dict[str, pa.ChunkedArray]:
    aligned = _aligned(table, key, ids)
    return {attribute.name: aligned[attribute.name] for attribute in attributes}


def _aligned(table: pa.Table, key: str, ids: IdMap) -> pa.Table:
    """The table's rows in the order of the ids; a row of nulls for an id that it lacks."""
    return table.take(pc.index_in(pa.array(ids.ids.tolist(), pa.string()), value_set=table[key].combine_chunks()))


def _table(
    ids: dict[str, NDArray[np.str_]], attributes: dict[str, pa.ChunkedArray], names: tuple[str, ...], values: Matrix
) -> pa.Table:
    columns = {name: pa.array(of_rows.tolist(), pa.string()) for name, of_rows in ids.items()}
    return pa.table(columns | attributes | dict(zip(names, map(pa.array, values.T), strict=True)))
