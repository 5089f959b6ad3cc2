"""List prices of the simulated marketplace over time: reviews every quarter, promotions of a week."""

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.config import WorldConfig

WEEK = 7  # days for which a list price stands


def log_prices(config: WorldConfig, launch_day: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Log of the asked price over the price a product began with, (n_weeks, n_products).

    A product begins when it is launched or when the log begins, whichever is later; each has its own week of
    review. A promotion lowers the price of its week alone.
    """
    n_weeks, n = config.all_days // WEEK + 1, len(launch_day)
    every = max(1, config.price_review_days // WEEK)
    reviewed = (np.arange(n_weeks)[:, None] + rng.integers(every, size=n)) % every == 0
    path = np.cumsum(rng.normal(0, config.price_spread, (n_weeks, n)).astype(np.float32) * reviewed, axis=0)
    begin = np.clip(launch_day, config.lead_in_days, config.all_days - 1) // WEEK
    path -= path[begin, np.arange(n)]
    on_promotion = rng.random((n_weeks, n), dtype=np.float32) < config.promotion_share
    return path + on_promotion * np.float32(np.log(1 - config.promotion_discount))
