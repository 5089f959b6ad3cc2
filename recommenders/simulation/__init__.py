"""The simulated B2B market (docs/world.md).

config and market say what there is, orders what one visit will bring, demand draws from it, files writes it down, truth
computes what any user will buy.
"""

from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.files import write_world
from recommenders.simulation.orders import make_world
from recommenders.simulation.truth import purchase_probabilities, purchase_probability

__all__ = [
    "Scenario",
    "WorldConfig",
    "make_world",
    "purchase_probabilities",
    "purchase_probability",
    "write_world",
]
