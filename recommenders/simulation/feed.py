"""A feed that breaks: what the scenario broken_feed does to the files. Nothing changes in the world itself."""

from datetime import datetime, time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders.simulation.config import Scenario, WorldConfig

WRONG_UNIT = 100  # a price in cents where it should be in whole units


def damaged_lines(config: WorldConfig, lines: pa.Table) -> pa.Table:
    """Order lines in time order, of which a share `strength` from the scenario's day on is damaged: a third lacks
    the price, a third has it in the wrong unit, a third stands there twice.
    """
    for scenario in _breaks(config):
        times = lines["ordered_at"].to_numpy()
        hit = times >= np.datetime64(datetime.combine(scenario.start, time()))
        # keyed by the first time stamp, so that chunks differ and each is the same whenever it is written
        luck = np.random.default_rng([config.seed, 6, int(times[0].astype(np.int64))]).random(len(times))
        kind = np.where(hit & (luck < scenario.strength), np.floor(3 * luck / scenario.strength), -1)
        price = np.where(kind == 1, lines["unit_price"].to_numpy() * WRONG_UNIT, lines["unit_price"].to_numpy())
        prices = pa.array(price, mask=(kind == 0) | np.isnan(price))
        lines = lines.set_column(lines.schema.get_field_index("unit_price"), "unit_price", prices)
        lines = lines.take(np.repeat(np.arange(len(times)), np.where(kind == 2, 2, 1)))
    return lines


def damaged_products(config: WorldConfig, products: pa.Table) -> pa.Table:
    """The products, a share `strength` of which has lost category and subcategory: a snapshot has no days before."""
    for place, scenario in enumerate(_breaks(config)):
        lost = np.random.default_rng([config.seed, 7, place]).random(products.num_rows) < scenario.strength
        for name in ("category", "subcategory"):
            emptied = pc.if_else(pa.array(lost), pa.scalar(None, pa.string()), products[name])
            products = products.set_column(products.schema.get_field_index(name), name, emptied)
    return products


def _breaks(config: WorldConfig) -> list[Scenario]:
    return [scenario for scenario in config.scenarios if scenario.kind == "broken_feed"]
