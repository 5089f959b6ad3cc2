"""The simulated B2B marketplace (docs/world.md): config and market say what there is, orders the law of one visit,
simulation draws from it, files writes it down, truth computes what any buyer will buy.
"""

from recommenders.datasets.b2b.config import Scenario, WorldConfig
from recommenders.datasets.b2b.files import write_world
from recommenders.datasets.b2b.orders import make_world
from recommenders.datasets.b2b.truth import purchase_probabilities, purchase_probability

__all__ = [
    "Scenario",
    "WorldConfig",
    "make_world",
    "purchase_probabilities",
    "purchase_probability",
    "write_world",
]
