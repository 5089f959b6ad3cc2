"""Cold starts: buyers whom the log has never seen, and items that nobody has bought yet."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation.tasks.task import Case, case_of_strangers, ones, relevant_ids
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions

if TYPE_CHECKING:
    import pyarrow as pa

CLICKS = 3  # lines of a basket that are known where the rest of it is asked for


def cold_buyers(log: Interactions, test: "pa.Table", protocol: Protocol, clicks: int | None = None) -> Case:
    """Buyers of the test window whom `log` does not know: known by their first visit, asked for later visits.

    A visit is all of a buyer's events at one moment. The history holds the first visit or, where `clicks` is given, no
    more than the first `clicks` events (within a moment by item id); events of any kind on items that the log knows.
    Wanted is what the protocol calls relevant in later visits, never what came at the same moment: that is
    rest_of_basket(). user_rows are -1. Raises ConfigurationError if clicks is below 1, DataError if no new buyer
    comes back.
    """
    events = _new_buyers(log, test, protocol)
    if clicks is None:
        known = events.times == events.first_times
        what = "first visit"
    else:
        known = events.numbers < _checked(clicks)
        what = f"first {clicks} events"
    last = np.full(len(events.ids), np.iinfo(np.int64).min)
    np.maximum.at(last, events.rows[known], events.times[known])
    wanted = events.relevant & (events.times > last[events.rows])
    description = f"cold-start users: known by their {what} alone, what they want in later visits is asked for"
    return _case(log, events, known, wanted, log.repeat, description)


def rest_of_basket(log: Interactions, test: "pa.Table", protocol: Protocol, clicks: int = CLICKS) -> Case:
    """New buyers as in cold_buyers(), known by the first `clicks` events of their first visit (by item id), asked for
    the other items of that same visit. What stands in the basket already is never asked for again.

    Raises ConfigurationError if clicks is below 1, DataError if no first visit of a new buyer holds more items.
    """
    events = _new_buyers(log, test, protocol)
    first_visit = events.times == events.first_times
    known = events.numbers < _checked(clicks)
    known &= first_visit
    wanted = events.relevant & first_visit & ~known
    description = f"rest of the basket: cold-start users, {clicks} lines of the first order known, the others asked for"
    return _case(log, events, known, wanted, False, description)


@dataclass(frozen=True, eq=False)
class _Events:
    """The events of new buyers on items that the log knows, by buyer, time and item id; arrays are (n_events,)."""

    ids: NDArray[np.str_]  # (n_users,)
    rows: NDArray[np.int64]  # places in ids
    item_columns: NDArray[np.int32]
    times: NDArray[np.int64]  # microseconds
    relevant: NDArray[np.bool_]  # whether the protocol counts the event as something wanted

    @property
    def starts(self) -> NDArray[np.int64]:
        """The place of the first event of each event's buyer."""
        counts = np.bincount(self.rows, minlength=len(self.ids))
        return np.repeat(np.cumsum(counts) - counts, counts)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """How many events the buyer has before each one."""
        return np.arange(len(self.rows)) - self.starts

    @property
    def first_times(self) -> NDArray[np.int64]:
        """When the buyer of each event came first."""
        return self.times[self.starts]


def _new_buyers(log: Interactions, test: "pa.Table", protocol: Protocol) -> _Events:
    user_ids = test["user_id"].to_numpy().astype(np.str_)
    columns = log.items.rows(test["item_id"].to_numpy().astype(np.str_))
    times = test["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
    relevant = np.isin(test["event"].to_numpy().astype(np.str_), protocol.relevant_events)
    new = np.flatnonzero((log.users.rows(user_ids) < 0) & (columns >= 0))
    ids, rows = np.unique(user_ids[new], return_inverse=True)
    # of one item at one moment what is relevant comes first, so that no order of the table's rows is left to decide
    order = np.lexsort((~relevant[new], columns[new], times[new], rows))
    new, rows = new[order], rows[order]
    return _Events(ids, rows, columns[new], times[new], relevant[new])


def _case(
    log: Interactions,
    events: _Events,
    known: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    repeat: bool,
    description: str,
) -> Case:
    """known and wanted: masks of the events, (n_events,)."""
    counts = np.bincount(events.rows[known], minlength=len(events.ids))
    histories = Histories(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        events.item_columns[known],
        np.full(int(known.sum()), log.timestamps.max(initial=0)),  # as a request says it: which items, in which order
        np.ones(int(known.sum()), np.float32),
        len(log.items),
    )
    asked = ones(events.rows[wanted], events.item_columns[wanted], histories.shape)
    return case_of_strangers(log, events.ids, histories, asked, log.available, description, repeat)


def _checked(clicks: int) -> int:
    if clicks < 1:
        raise ConfigurationError(
            f"clicks: got {clicks}; allowed: 1 or more; say how many events a new buyer begins with"
        )
    return clicks


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
