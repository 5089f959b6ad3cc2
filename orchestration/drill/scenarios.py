"""What happens in a drill, and from which day on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from recommenders.simulation.config import ScenarioKind

WEEK = 7
QUIET_DAYS = 2 * WEEK  # before the change: the windows that the quality of the first champion is compared with
BROKEN_DAYS = WEEK  # of a broken feed
OUTAGE_DAYS = 3  # without events
DAMAGED = 0.3  # share of the events of a broken feed

Fault = Literal["", "damaged events", "no events", "bad model"]


@dataclass(frozen=True)
class DrillScenario:
    """A change of the market, or a fault.

    what: as text. change, strength: of the market (docs/world.md); None: the market does not change. exchanged: the
    users exchange all that they do (recommenders.simulation.market_days.Exchange). fault: of the feed or of a model.
    is_drift: the platform has to find a change of the market or of its users, and to train a model on it.
    """

    what: str
    change: ScenarioKind | None = None
    strength: float = 0.0
    exchanged: bool = False
    fault: Fault = ""

    @property
    def is_drift(self) -> bool:
        """Whether the market or its users change."""
        return self.change is not None or self.exchanged

    @property
    def fault_days(self) -> int:
        """How many days the feed has the fault; 0: none."""
        return {"damaged events": BROKEN_DAYS, "no events": OUTAGE_DAYS}.get(self.fault, 0)


SCENARIOS: Mapping[str, DrillScenario] = {
    "none": DrillScenario("nothing happens"),
    "demand_shift": DrillScenario("the demand for each subcategory changes by a random factor", "demand_shift", 1.0),
    "price_inflation": DrillScenario("all prices rise by 30 %", "price_inflation", 0.3),
    "new_items": DrillScenario("half as many new items again are launched within two weeks", "new_items", 0.5),
    "churn": DrillScenario("40 % of the users leave within a month", "churn", 0.4),
    "taste_permutation": DrillScenario(
        "users of the same segment and region exchange all that they buy and need, so that the market as a whole stays",
        exchanged=True,
    ),
    "broken_feed": DrillScenario(
        f"for {BROKEN_DAYS} days {DAMAGED:.0%} of the purchases have no price, a price in cents, or arrive twice",
        fault="damaged events",
    ),
    "bad_model": DrillScenario("a model that mixed up its item ids is forced past the gate", fault="bad model"),
    "feed_outage": DrillScenario(
        f"for {OUTAGE_DAYS} days no event arrives; all of them arrive later", fault="no events"
    ),
}
