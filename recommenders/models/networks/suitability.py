"""Checks of a training log that all networks use: is there enough to learn?"""

import numpy as np

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
