"""Applies the scenario broken_feed: it damages rows of the written files. The world itself does not change."""

from datetime import datetime, time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders.simulation.config import Scenario, WorldConfig

WRONG_UNIT = 100  # a price in cents where it should be in whole units


def damaged_lines(config: WorldConfig, lines: pa.Table) -> pa.Table:
    """The order lines (in time order), of which a share `strength` from the scenario's day on is damaged: a third has
    no price, a third has the price in the wrong unit, a third is duplicated.
    """
    for scenario in _broken_feed_scenarios(config):
        times = lines["ordered_at"].to_numpy()
        affected = times >= np.datetime64(datetime.combine(scenario.start, time()))
        # seeded by the first time stamp, so that chunks differ and each chunk is the same in every run
        draws = np.random.default_rng([config.seed, 6, int(times[0].astype(np.int64))]).random(len(times))
        damage = np.where(affected & (draws < scenario.strength), np.floor(3 * draws / scenario.strength), -1)
        price = np.where(damage == 1, lines["unit_price"].to_numpy() * WRONG_UNIT, lines["unit_price"].to_numpy())
        prices = pa.array(price, mask=(damage == 0) | np.isnan(price))
        lines = lines.set_column(lines.schema.get_field_index("unit_price"), "unit_price", prices)
        lines = lines.take(np.repeat(np.arange(len(times)), np.where(damage == 2, 2, 1)))
    return lines


def damaged_products(config: WorldConfig, products: pa.Table) -> pa.Table:
    """The products, a share `strength` of which has no category and subcategory. The table has no time stamps, so the
    scenario's day does not matter.
    """
    for index, scenario in enumerate(_broken_feed_scenarios(config)):
        without_category = np.random.default_rng([config.seed, 7, index]).random(products.num_rows) < scenario.strength
        for name in ("category", "subcategory"):
            emptied = pc.if_else(pa.array(without_category), pa.scalar(None, pa.string()), products[name])
            products = products.set_column(products.schema.get_field_index(name), name, emptied)
    return products


def _broken_feed_scenarios(config: WorldConfig) -> list[Scenario]:
    return [scenario for scenario in config.scenarios if scenario.kind == "broken_feed"]
