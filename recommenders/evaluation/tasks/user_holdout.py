"""Strong generalisation: users of whom nothing was learned, known only by what is folded in (Liang et al. 2018)."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation.tasks.task import Case, case_of_strangers, ones
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions


def hold_out_users(
    log: Interactions, share: float = 0.1, fold_in: float = 0.8, seed: int = 42
) -> tuple[Interactions, Case]:
    """The log without a share of its users, and what is asked about these: user_rows are -1, strangers with a history.

    Of each user held out the first `fold_in` of the events, in time order, is the history, and what comes after it is
    wanted; events of one moment are put in an order drawn by lot, so that a log without times is split at random. Each
    side gets one event at least, so only users with two are drawn. Items keep their columns; one that only users held
    out know is no candidate, as nobody could learn it. The log that is left is not dated: each user is asked at another
    moment. Raises ConfigurationError for a share or fold_in outside (0, 1), DataError if nobody can be held out.
    """
    for name, value in (("share", share), ("fold_in", fold_in)):
        if not 0 < value < 1:
            raise ConfigurationError(
                f"{name}: got {value}; allowed: between 0 and 1; say which part of all it shall be"
            )
    rng = np.random.default_rng(seed)
    held = _draw(log, share, rng)
    away = np.isin(log.user_rows, held)
    histories, wanted = _fold_in(log.select(away), held, fold_in, rng)
    candidates = log.available & ~_known_to(log.select(away), log.select(~away))
    training = replace(_without_users(log.select(~away), held), available=candidates, dated=False, horizon_days=None)
    description = (
        f"strong generalisation: {share:.0%} of the users held out, the first {fold_in:.0%} of their events folded in, "
        f"the rest wanted, full ranking over all items of the others, known items {'stay' if log.repeat else 'masked'}"
    )
    return training, case_of_strangers(training, log.users.ids[held], histories, wanted, candidates, description)


def _draw(log: Interactions, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """The rows of the users held out, ascending."""
    counts = np.bincount(log.user_rows, minlength=len(log.users))
    able = np.flatnonzero(counts > 1)
    n_held = min(max(1, round(share * int((counts > 0).sum()))), len(able), int((counts > 0).sum()) - 1)
    if n_held < 1:
        raise DataError(
            f"no user can be held out: {len(able)} of {(counts > 0).sum()} have two events or more; allowed: one such "
            "user and another to learn from; bring a longer log"
        )
    return np.sort(rng.choice(able, n_held, replace=False))


def _fold_in(
    events: Interactions, held: NDArray[np.int64], share: float, rng: np.random.Generator
) -> tuple[Histories, csr_array]:
    """What is known of each user held out, and what comes after it: (n_held, n_items) each."""
    order = np.lexsort((rng.random(len(events)), events.timestamps, events.user_rows))
    places = np.searchsorted(held, events.user_rows[order])
    counts = np.bincount(places, minlength=len(held))
    n_known = np.clip(np.rint(share * counts), 1, counts - 1).astype(np.int64)
    early = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts) < n_known[places]
    known = order[early]
    histories = Histories(
        np.concatenate([[0], np.cumsum(n_known)]),
        events.item_columns[known],
        events.timestamps[known],
        events.weights[known],
        len(events.items),
    )
    return histories, ones(places[~early], events.item_columns[order[~early]], histories.shape)


def _known_to(some: Interactions, others: Interactions) -> NDArray[np.bool_]:
    """(n_items,): items of which there are events in the first log and none in the second."""
    n_items = len(some.items)
    alone = np.bincount(some.item_columns, minlength=n_items) > 0
    return np.asarray(alone & (np.bincount(others.item_columns, minlength=n_items) == 0))


def _without_users(log: Interactions, held: NDArray[np.int64]) -> Interactions:
    """The log, which holds no event of theirs any more, with these users gone from its rows too."""
    stay = np.ones(len(log.users), dtype=np.bool_)
    stay[held] = False
    rows = (np.cumsum(stay) - 1).astype(np.int32)
    return replace(log, users=IdMap(log.users.ids[stay]), user_rows=rows[log.user_rows])
