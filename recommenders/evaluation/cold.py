"""Cold starts: buyers whom the log has never seen, and items that nobody has bought yet."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation.protocol import Case, case_of_strangers, ones, relevant_ids

if TYPE_CHECKING:
    import pyarrow as pa

CLICKS = 3  # events of a new buyer's first visit


def cold_buyers(log: Interactions, test: "pa.Table", protocol: Protocol, clicks: int = CLICKS) -> Case:
    """Buyers of the test window whom `log` does not know: their first events are the history, what follows is wanted.

    The first `clicks` events, of any kind, on items that the log knows make the history; of those after them the ones
    that the protocol calls relevant count. user_rows are -1. Raises ConfigurationError if clicks is below 1, DataError
    if no new buyer goes on after that many.
    """
    if clicks < 1:
        raise ConfigurationError(
            f"clicks: got {clicks}; allowed: 1 or more; say how many events a new buyer begins with"
        )
    user_ids, columns, times = _events(log, test)
    new = (log.users.rows(user_ids) < 0) & (columns >= 0)
    ids, places = np.unique(user_ids[new], return_inverse=True)
    order = np.lexsort((times[new], places))  # stable: events of one moment stay in the table's order
    counts = np.bincount(places, minlength=len(ids))
    first = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts) < clicks
    counted = np.isin(test["event"].to_numpy().astype(np.str_), protocol.relevant_events)
    known, later = np.flatnonzero(new)[order[first]], np.flatnonzero(new)[order[~first]]
    histories = Histories(
        np.concatenate([[0], np.cumsum(np.minimum(counts, clicks))]).astype(np.int64),
        columns[known],
        np.full(len(known), log.timestamps.max(initial=0)),  # as a request tells them: which items, in which order
        np.ones(len(known), np.float32),
        len(log.items),
    )
    later_places, later = places[order[~first]][counted[later]], later[counted[later]]
    wanted = ones(later_places, columns[later], histories.shape)
    description = f"cold buyers: known by their first {clicks} events alone, what follows is wanted"
    return case_of_strangers(log, ids, histories, wanted, log.available, description)


def cold_items(log: Interactions, test: "pa.Table", protocol: Protocol) -> dict[str, Case]:
    """What known buyers wanted of the items that nobody had bought before: "cold_only" and "among_all".

    Cold are the items of the log's map without any event and, where candidates are those on sale, on sale at the cut.
    In "cold_only" they compete with each other, in "among_all" with every candidate. Raises DataError if there is none,
    or nobody wanted one.
    """
    cold = np.bincount(log.item_columns, minlength=len(log.items)) == 0
    if protocol.candidates == "on_sale":
        cold &= log.available
    user_ids, item_ids = relevant_ids(test, protocol)
    rows, columns = log.users.rows(user_ids), log.items.rows(item_ids)
    asked = (rows >= 0) & (columns >= 0) & cold[columns]
    if not asked.any():
        raise DataError(
            f"cold items cannot be evaluated: {int(cold.sum())} items have no event before the cut, and no known buyer "
            "wanted one of them; bring an items table that holds new ones, or a longer window"
        )
    user_rows, places = np.unique(rows[asked], return_inverse=True)
    relevant = ones(places, columns[asked], (len(user_rows), len(log.items)))
    n_unseen, n_missed = len(np.unique(user_ids[rows < 0])), len(np.unique(item_ids[columns < 0]))
    n_cold = int(cold.sum())
    among_all = Case(
        log.users.ids[user_rows],
        user_rows.astype(np.int32),
        log.histories()[user_rows],
        relevant,
        log.available | cold,
        protocol.repeat,
        f"cold items: {n_cold} without an event before the cut, ranked among all items",
        n_unseen,
        n_missed,
        apart=False,  # nobody reorders what nobody has bought
    )
    alone = f"cold items: {n_cold} without an event before the cut, ranked among themselves"
    return {"cold_only": replace(among_all, candidates=cold, description=alone), "among_all": among_all}


def _events(log: Interactions, test: "pa.Table") -> tuple[NDArray[np.str_], NDArray[np.int32], NDArray[np.int64]]:
    """User id, item column (-1: unknown) and microseconds of each row."""
    columns = log.items.rows(test["item_id"].to_numpy().astype(np.str_))
    times = test["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    return test["user_id"].to_numpy().astype(np.str_), columns, times
