"""The parameters of the simulated marketplace: its names, who is drawn to what, and every figure of the
world.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, cast, get_args

from recommenders.errors import ConfigurationError, UnknownNameError

INDUSTRIES = (
    "retail",
    "hospitality",
    "manufacturing",
    "construction",
    "healthcare",
    "education",
    "logistics",
    "services",
)
BUSINESS_TYPES = ("retailer", "wholesaler", "manufacturer", "service provider", "public institution")
REGIONS = ("north", "south", "east", "west", "central", "overseas")

# category: (how much each of INDUSTRIES is drawn to it, in logs), ((subcategory, share of consumables), ...)
CATALOGUE: dict[str, tuple[tuple[float, ...], tuple[tuple[str, float], ...]]] = {
    "office supplies": (
        (0.6, 0.2, 0.4, 0.2, 0.8, 1.8, 0.5, 2.0),
        (
            ("paper", 0.9),
            ("writing", 0.7),
            ("filing", 0.4),
            ("desk", 0.1),
            ("ink and toner", 0.9),
            ("boards", 0.1),
        ),
    ),
    "packaging": (
        (1.8, 0.4, 1.2, 0.2, 0.3, 0.1, 2.2, 0.3),
        (("boxes", 0.9), ("tape", 0.9), ("wrap", 0.8), ("labels", 0.8), ("pallets", 0.4), ("gift wrap", 0.5)),
    ),
    "cleaning": (
        (0.8, 1.8, 0.8, 0.4, 1.8, 1.2, 0.5, 0.9),
        (
            ("detergents", 0.9),
            ("towels", 0.9),
            ("gloves", 0.9),
            ("mops", 0.3),
            ("bins", 0.2),
            ("fragrance", 0.6),
        ),
    ),
    "safety and workwear": (
        (0.3, 0.4, 1.6, 2.2, 1.4, 0.3, 1.5, 0.2),
        (
            ("helmets", 0.2),
            ("footwear", 0.3),
            ("eye protection", 0.4),
            ("masks", 0.9),
            ("jackets", 0.2),
            ("first aid", 0.5),
        ),
    ),
    "tools and hardware": (
        (0.6, 0.2, 2.0, 2.4, 0.2, 0.4, 0.8, 0.3),
        (
            ("hand tools", 0.1),
            ("power tools", 0.1),
            ("fasteners", 0.9),
            ("adhesives", 0.8),
            ("lighting", 0.4),
            ("paint", 0.6),
        ),
    ),
    "electronics": (
        (1.0, 0.4, 1.0, 0.4, 0.9, 1.5, 0.8, 1.9),
        (
            ("cables", 0.4),
            ("batteries", 0.9),
            ("displays", 0.1),
            ("printers", 0.1),
            ("networking", 0.1),
            ("storage", 0.3),
        ),
    ),
    "catering": (
        (1.2, 2.6, 0.3, 0.3, 0.9, 0.8, 0.2, 0.8),
        (
            ("coffee and tea", 0.9),
            ("snacks", 0.9),
            ("cups", 0.9),
            ("tableware", 0.2),
            ("kitchen", 0.1),
            ("candles", 0.5),
        ),
    ),
}
CATEGORIES = tuple(CATALOGUE)
SUBCATEGORIES = tuple((category, name) for category in CATEGORIES for name, _ in CATALOGUE[category][1])
STYLES = (
    "classic",
    "eco",
    "premium",
    "compact",
    "heavy duty",
    "colour",
    "basic",
    "pro",
    "vintage",
    "slim",
    "family",
    "bulk",
)
BRANDS_PER_CATEGORY = 12


Kind = Literal["demand_shift", "price_inflation", "new_items", "churn", "taste_permutation", "broken_feed"]
MOST: dict[str, float] = {"demand_shift": 5.0, "price_inflation": 10.0}  # of a strength; 1, a share, for the rest


@dataclass(frozen=True)
class Scenario:
    """Something that happens to the world from a day on; nothing before that day knows of it.

    demand_shift        each subcategory is wanted exp(strength x N(0, 1)) times as much
    price_inflation     every list price is 1 + strength times what it would have been
    new_items           strength x n_products more products are launched within two weeks
    churn               a share `strength` of the buyers leaves within a month
    taste_permutation   a share `strength` of the buyers swaps tastes with equally active ones
    broken_feed         a share `strength` of the written rows is damaged; what happened stays as it was

    Raises UnknownNameError for another kind, ConfigurationError for a strength outside (0, MOST or 1].
    """

    kind: Kind
    start: date  # the first day
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UnknownNameError("scenario", self.kind, get_args(Kind))
        most = MOST.get(self.kind, 1.0)
        if not 0 < self.strength <= most:
            raise ConfigurationError(
                f"strength of the scenario {self.kind} is {self.strength}; it must be above 0 and at most {most:g}"
            )

    @classmethod
    def parse(cls, text: str) -> "Scenario":
        """A scenario written as KIND:FIRST-DAY:STRENGTH. Raises ConfigurationError."""
        kind, start, strength = [*text.split(":"), "", ""][:3]
        try:
            return cls(cast(Kind, kind), date.fromisoformat(start), float(strength))
        except ValueError:
            raise ConfigurationError(
                f"scenario: got {text!r}; allowed: KIND:FIRST-DAY:STRENGTH such as churn:2026-05-01:0.2"
            ) from None


@dataclass(frozen=True)
class WorldConfig:
    """Every parameter of the world. Day 0 is the first simulated one; standard deviations are of logs.

    Raises ConfigurationError if a scenario starts outside the days for which the law is stated.
    """

    n_buyers: int = 2_000
    n_products: int = 5_000
    n_orders: int = 25_000
    seed: int = 42
    end: date = date(2026, 6, 30)  # the last day
    days: int = 365  # over which n_orders orders are expected
    lead_in_days: int = 60  # simulated before, so that the log does not begin with an empty market
    forecast_days: int = 90  # after the last day, for which the law is stated too
    scenarios: tuple[Scenario, ...] = ()
    # what is wanted
    zipf_exponent: float = 1.2  # popularity of the r-th product ~ r^-exponent
    taste_spread: float = 0.8  # of a buyer about the industry, per subcategory
    category_spread: float = 0.5  # of a buyer about the industry, per category
    brand_spread: float = 0.4
    latent_size: int = 6  # styles: taste that attributes tell only in part
    latent_spread: float = 0.45
    price_tolerance: float = 1.1  # width of the price fit, in standard deviations of a subcategory's log price
    trend_spread: float = 0.5  # drift of a product's log popularity over a year
    season_spread: float = 0.4  # amplitude of a subcategory's year
    ramp_days: float = 30.0  # a new product grows known over them, a dying one fades over twice as many
    # how much is bought
    discovery_lines: float = 88.0  # lines of an average order that are wanted for their own sake
    known_factor: float = 0.12  # a product's discovery share once the buyer has bought it
    staple_share: float = 0.35  # how much of what a buyer tries becomes a staple, of consumables alone
    reorder_strength: float = 0.27  # expected lines of a staple at a visit when it is due
    reorder_width: float = 0.6  # of the bump in log(elapsed / cycle) within which a reorder happens
    cycle_days: float = 45.0  # median
    cycle_spread: float = 0.5
    bundle_share: float = 0.06  # of products that go with another one
    bundle_probability: float = 0.25  # that the companion goes into the same order
    substitute_share: float = 0.1  # of products with a substitute: one order never holds both
    closed_subcategories: float = 0.1  # share of them that a buyer's contract leaves out
    closed_brands: float = 0.05  # the same of brands
    # what it costs
    price_review_days: int = 91  # between two changes of a list price
    price_spread: float = 0.06  # of one change
    promotion_share: float = 0.02  # of a product's weeks that are promotions
    promotion_discount: float = 0.15
    price_elasticity: float = 1.2  # median over products: demand ~ (price / price at the start)^-elasticity
    elasticity_spread: float = 0.4
    # who comes when
    visit_spread: float = 1.0
    basket_spread: float = 0.45  # between buyers
    size_floor: float = 0.15  # an order's size is floor + (1 - floor) x Gamma(shape, mean 1)
    size_shape: float = 1.2
    weekday_factors: tuple[float, ...] = (1.15, 1.2, 1.2, 1.1, 0.95, 0.15, 0.1)  # Monday first
    new_buyers: float = 0.25
    leaving_buyers: float = 0.15
    new_products: float = 0.2
    dying_products: float = 0.15

    def __post_init__(self) -> None:
        for scenario in self.scenarios:
            self.day(scenario.start)

    @classmethod
    def scaled(cls, scale: float, seed: int) -> "WorldConfig":
        """A larger or smaller world. Buyers and orders grow with the scale, the assortment with its square
        root.
        """
        return cls(
            n_buyers=max(10, round(cls.n_buyers * scale)),
            n_products=max(len(SUBCATEGORIES), round(cls.n_products * scale**0.5)),
            n_orders=max(50, round(cls.n_orders * scale)),
            seed=seed,
        )

    @property
    def visit_factors(self) -> tuple[float, ...]:
        """How many more visits a weekday sees than the average day, Monday first."""
        return tuple(factor * 7 / sum(self.weekday_factors) for factor in self.weekday_factors)

    @property
    def n_days(self) -> int:
        """All simulated days."""
        return self.lead_in_days + self.days

    @property
    def all_days(self) -> int:
        """The simulated days and those after them for which the law is stated."""
        return self.n_days + self.forecast_days

    @property
    def first_date(self) -> date:
        """The date of day 0."""
        return self.end - timedelta(days=self.n_days - 1)

    def day(self, date: date) -> int:
        """The number of a date's day. Raises ConfigurationError where the law says nothing of it."""
        day = (date - self.first_date).days
        if not 0 <= day < self.all_days:
            last = self.first_date + timedelta(days=self.all_days - 1)
            raise ConfigurationError(f"the world knows nothing of {date}; choose from {self.first_date} to {last}")
        return day
