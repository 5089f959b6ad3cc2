"""Calibrates a model that serves and has no calibration of its own: every model except hybrid_learned."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from recommenders.errors import UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.features.ranking import feature_horizon_days
from recommenders.models.calibration import BANDS, Calibration, Kind, RankedUsers, fit_calibration
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender, TrainingOptions
from recommenders.splitting.windows import first_events, windows

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

MAX_USERS = 2000  # whose lists are made


def calibrate(
    model: Recommender,
    popularity: Popularity,
    log: Interactions,
    features: "ItemFeatures | None",
    options: TrainingOptions,
) -> Calibration | None:
    """The calibration of a model that is fitted on the log, and of the popularity that is served beside it.

    Both are fitted once more, on the log before its newest window, and their lists are compared with what users bought
    in the window. None if the log is too short for a window, or the model cannot be fitted on the log before it.
    """
    window = next(windows(log, 1, feature_horizon_days(log)), None)
    if window is None:
        return None
    options = replace(options, on_epoch=None, checkpoints=None)
    features = features.as_of(window.log.last_event, window.log.items) if features else None
    try:
        earlier = model.refit(window.log, features, options)
    except UnsuitableError:
        return None
    available, rows = window.log.available, window.user_rows[:MAX_USERS]
    known, targets = window.log.histories()[rows], window.targets[: len(rows)]
    lists: dict[Kind, RankedUsers] = {
        "all": RankedUsers.of(*earlier.recommend(rows, known, BANDS[-1], available), targets),
        "discovery": RankedUsers.of(*earlier.recommend(rows, known, BANDS[-1], available, True), targets),
        "popularity": popularity.refit(window.log, features, options).ranked_users(window.relevant, available),
    }
    if earlier.handles_new_users:
        first, later = first_events(window.new_users, None)
        unknown = np.full(len(first), -1, np.int32)
        lists["cold_start"] = RankedUsers.of(*earlier.recommend(unknown, first, BANDS[-1], available), later)
    return fit_calibration(lists)
