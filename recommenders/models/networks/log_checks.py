"""Checks and masks of a training log that both networks use: is there enough to learn, and what can validate."""

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import UnsuitableError
from recommenders.events.interactions import Interactions


def require_repeated_items(model: str, log: Interactions) -> None:
    """Raises UnsuitableError if no two items can be compared: one event of an item shows no pattern that repeats."""
    events = np.bincount(log.item_columns)
    n_items, most = np.count_nonzero(events), events.max(initial=0)
    if n_items < 2 or most < 2:
        raise UnsuitableError(
            f"{model} has nothing to learn: got {n_items:,} items with events, of at most {most:,} events each; "
            f"allowed: from 2 items, one of them with 2 events; bring a longer log or set models.{model}.enabled: false"
        )


def latest_visit_mask(log: Interactions) -> NDArray[np.bool_]:
    """(n_events,) whether an event belongs to the latest visit of its user."""
    latest = np.full(len(log.users), np.iinfo(np.int64).min)
    np.maximum.at(latest, log.user_rows, log.timestamps)
    return np.asarray(log.timestamps == latest[log.user_rows])


def users_on_both_sides(log: Interactions, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows, ascending, of the users with events inside and outside the mask (n_events,)."""
    inside, outside = (np.bincount(log.user_rows[part], minlength=len(log.users)) for part in (mask, ~mask))
    return np.flatnonzero((inside > 0) & (outside > 0))


def one_event_per_user(log: Interactions, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n_events,) true for one event of each user, drawn at random."""
    order = np.lexsort((rng.random(len(log)), log.user_rows))
    drawn = np.zeros(len(log), dtype=np.bool_)
    drawn[order[np.append(np.diff(log.user_rows[order]) != 0, True)[: len(log)]]] = True
    return drawn
