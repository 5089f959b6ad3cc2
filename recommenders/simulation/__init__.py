"""The simulated B2B market (docs/world.md).

config holds the parameters, market draws the users and the products, orders defines the purchase probabilities of one
visit, demand samples visits, files writes the data set, truth computes the true purchase probability of every user and
product.
"""

from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.market_files import write_world
from recommenders.simulation.purchase_model import make_world
from recommenders.simulation.truth import purchase_probabilities, purchase_probability

__all__ = [
    "Scenario",
    "WorldConfig",
    "make_world",
    "purchase_probabilities",
    "purchase_probability",
    "write_world",
]
