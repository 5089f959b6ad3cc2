"""Cold-start tasks: users without training events, and items without training events."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation.tasks.task import EvaluationTask, cold_start_task, relevant_ids
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.sparse import ones

if TYPE_CHECKING:
    import pyarrow as pa

CLICKS = 3  # events of a visit that are in the history; the other items of the visit are relevant


def cold_start_users(
    log: Interactions, test: "pa.Table", protocol: Protocol, clicks: int | None = None
) -> EvaluationTask:
    """The task for test users that `log` lacks: the first visit is the history, items of later visits are relevant.

    A visit is all events of one user with one time stamp. The history holds the first visit or, with `clicks`, only the
    first `clicks` events (equal times ordered by item id). It holds events of all kinds, on items that the log knows.
    Relevant are the items of relevant events (by the protocol) in later visits, never items of the same visit: for
    those use rest_of_basket(). user_rows are -1. Raises ConfigurationError if clicks is below 1, DataError if no
    cold-start user has a later visit.
    """
    events = _cold_start_events(log, test, protocol)
    if clicks is None:
        known = events.times == events.first_times
        what = "first visit"
    else:
        known = events.numbers < _checked(clicks)
        what = f"first {clicks} events"
    last = np.full(len(events.ids), np.iinfo(np.int64).min)
    np.maximum.at(last, events.rows[known], events.times[known])
    relevant = events.relevant & (events.times > last[events.rows])
    description = f"cold-start users: the history is their {what}, the items of later visits are relevant"
    return _task(log, events, known, relevant, log.repeat, description)


def rest_of_basket(log: Interactions, test: "pa.Table", protocol: Protocol, clicks: int = CLICKS) -> EvaluationTask:
    """The task for the users of cold_start_users(), within their first visit: the history is its first `clicks` events
    (ordered by item id), relevant are its other items. Items of the history are never relevant.

    Raises ConfigurationError if clicks is below 1, DataError if no first visit of a cold-start user has more items.
    """
    events = _cold_start_events(log, test, protocol)
    first_visit = events.times == events.first_times
    known = events.numbers < _checked(clicks)
    known &= first_visit
    relevant = events.relevant & first_visit & ~known
    description = (
        f"rest of the basket: cold-start users, {clicks} events of the first visit known, its other items relevant"
    )
    return _task(log, events, known, relevant, False, description)


@dataclass(frozen=True, eq=False)
class _Events:
    """The events of cold-start users on known items, sorted by user, time and item id; arrays are (n_events,)."""

    ids: NDArray[np.str_]  # (n_users,)
    rows: NDArray[np.int64]  # positions in ids
    item_columns: NDArray[np.int32]
    times: NDArray[np.int64]  # microseconds
    relevant: NDArray[np.bool_]  # whether the event is relevant by the protocol

    @property
    def starts(self) -> NDArray[np.int64]:
        """For each event the position of the first event of its user."""
        counts = np.bincount(self.rows, minlength=len(self.ids))
        return np.repeat(np.cumsum(counts) - counts, counts)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """For each event the number of earlier events of its user."""
        return np.arange(len(self.rows)) - self.starts

    @property
    def first_times(self) -> NDArray[np.int64]:
        """For each event the time of the first visit of its user."""
        return self.times[self.starts]


def _cold_start_events(log: Interactions, test: "pa.Table", protocol: Protocol) -> _Events:
    user_ids = test["user_id"].to_numpy().astype(np.str_)
    columns = log.items.rows(test["item_id"].to_numpy().astype(np.str_))
    times = test["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    relevant = np.isin(test["event"].to_numpy().astype(np.str_), protocol.relevant_events)
    new = np.flatnonzero((log.users.rows(user_ids) < 0) & (columns >= 0))
    ids, rows = np.unique(user_ids[new], return_inverse=True)
    # of equal user, time and item the relevant event comes first, so the order of the table's rows has no effect
    order = np.lexsort((~relevant[new], columns[new], times[new], rows))
    new, rows = new[order], rows[order]
    return _Events(ids, rows, columns[new], times[new], relevant[new])


def _task(
    log: Interactions,
    events: _Events,
    known: NDArray[np.bool_],
    relevant: NDArray[np.bool_],
    repeat: bool,
    description: str,
) -> EvaluationTask:
    """known, relevant: masks of the events, (n_events,). Events of `known` become the histories."""
    counts = np.bincount(events.rows[known], minlength=len(events.ids))
    histories = Histories(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        events.item_columns[known],
        np.full(int(known.sum()), log.timestamps.max(initial=0)),  # as in a request: only the items and their order
        np.ones(int(known.sum()), np.float32),
        len(log.items),
    )
    pairs = ones(events.rows[relevant], events.item_columns[relevant], histories.shape)
    return cold_start_task(log, events.ids, histories, pairs, log.available, description, repeat)


def _checked(clicks: int) -> int:
    if clicks < 1:
        raise ConfigurationError(f"clicks: got {clicks}; allowed: 1 or more; give the number of events in the history")
    return clicks


def cold_items(log: Interactions, test: "pa.Table", protocol: Protocol) -> dict[str, EvaluationTask]:
    """The tasks with cold items as relevant items, for known users: "cold_only" and "among_all".

    Cold items are the items of the log's map without events; if the candidates are the items on sale, they must be on
    sale at the cut too. In "cold_only" the candidates are the cold items, in "among_all" all candidates. Raises
    DataError if there is no cold item, or if none is relevant for a known user.
    """
    cold = np.bincount(log.item_columns, minlength=len(log.items)) == 0
    if protocol.candidates == "on_sale":
        cold &= log.available
    user_ids, item_ids = relevant_ids(test, protocol)
    rows, columns = log.users.rows(user_ids), log.items.rows(item_ids)
    relevant_events = (rows >= 0) & (columns >= 0) & cold[columns]
    if not relevant_events.any():
        raise DataError(
            f"cold items cannot be evaluated: {int(cold.sum())} items have no event before the cut, and none of "
            "them is relevant for a known user; bring an items table that holds new items, or a longer window"
        )
    user_rows, places = np.unique(rows[relevant_events], return_inverse=True)
    relevant = ones(places, columns[relevant_events], (len(user_rows), len(log.items)))
    n_unseen, n_missed = len(np.unique(user_ids[rows < 0])), len(np.unique(item_ids[columns < 0]))
    n_cold = int(cold.sum())
    among_all = EvaluationTask(
        log.users.ids[user_rows],
        user_rows.astype(np.int32),
        log.histories()[user_rows],
        relevant,
        log.available | cold,
        protocol.repeat,
        f"cold items: {n_cold} without an event before the cut, ranked among all items",
        n_unseen,
        n_missed,
        split_views=False,  # there are no reorders of items without events
    )
    cold_only = f"cold items: {n_cold} without an event before the cut, ranked among themselves"
    return {"cold_only": replace(among_all, candidates=cold, description=cold_only), "among_all": among_all}
