"""List prices of the simulated marketplace over time: a price review every quarter, promotions of one week."""

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.config import WorldConfig

WEEK = 7  # days for which a list price is valid


def log_prices(config: WorldConfig, launch_day: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Log of the list price divided by the product's initial price, (n_weeks, n_products).

    The initial price is that of the launch or of the log's begin, whichever is later; each product has its own review
    week. A promotion lowers the price of one week only.
    """
    n_weeks, n = config.all_days // WEEK + 1, len(launch_day)
    review_weeks = max(1, config.price_review_days // WEEK)
    reviewed = (np.arange(n_weeks)[:, None] + rng.integers(review_weeks, size=n)) % review_weeks == 0
    log_price = np.cumsum(rng.normal(0, config.price_spread, (n_weeks, n)).astype(np.float32) * reviewed, axis=0)
    start_week = np.clip(launch_day, config.lead_in_days, config.all_days - 1) // WEEK
    log_price -= log_price[start_week, np.arange(n)]
    on_promotion = rng.random((n_weeks, n), dtype=np.float32) < config.promotion_share
    return log_price + on_promotion * np.float32(np.log(1 - config.promotion_discount))
