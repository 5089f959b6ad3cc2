"""The parameters of the simulated marketplace: its names, the affinity of industries to categories, and every number
of the world.
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

# category: (log affinity of each of INDUSTRIES to it), ((subcategory, share of consumables), ...)
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


ScenarioKind = Literal["demand_shift", "price_inflation", "new_items", "churn", "taste_permutation", "broken_feed"]
MAX_STRENGTH: dict[str, float] = {"demand_shift": 5.0, "price_inflation": 10.0}  # 1 for the others: it is a share


@dataclass(frozen=True)
class Scenario:
    """A change of the world from a given day on; the days before it are not affected.

    demand_shift        the purchase rate of each subcategory is multiplied by exp(strength x N(0, 1))
    price_inflation     every list price is multiplied by 1 + strength
    new_items           strength x n_products more products are launched within two weeks
    churn               a share `strength` of the users leaves within a month
    taste_permutation   a share `strength` of the users exchange their tastes with equally active users
    broken_feed         a share `strength` of the written rows is damaged; the simulated purchases do not change

    Raises UnknownNameError for another kind, ConfigurationError for a strength outside (0, MAX_STRENGTH or 1].
    """

    kind: ScenarioKind
    start: date  # the first day
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScenarioKind):
            raise UnknownNameError("scenario", self.kind, get_args(ScenarioKind))
        largest = MAX_STRENGTH.get(self.kind, 1.0)
        if not 0 < self.strength <= largest:
            raise ConfigurationError(
                f"strength of the scenario {self.kind} is {self.strength}; it must be above 0 and at most {largest:g}"
            )

    @classmethod
    def parse(cls, text: str) -> "Scenario":
        """A scenario written as KIND:FIRST-DAY:STRENGTH. Raises ConfigurationError."""
        kind, start, strength = [*text.split(":"), "", ""][:3]
        try:
            return cls(cast(ScenarioKind, kind), date.fromisoformat(start), float(strength))
        except ValueError:
            raise ConfigurationError(
                f"scenario: got {text!r}; allowed: KIND:FIRST-DAY:STRENGTH such as churn:2026-05-01:0.2"
            ) from None


@dataclass(frozen=True)
class WorldConfig:
    """Every parameter of the world. Day 0 is the first simulated day; standard deviations are of logarithms.

    Raises ConfigurationError if a scenario starts outside the days for which purchase probabilities are defined.
    """

    n_users: int = 2_000
    n_products: int = 5_000
    n_orders: int = 25_000
    seed: int = 42
    end: date = date(2026, 6, 30)  # the last day
    days: int = 365  # over which n_orders orders are expected
    lead_in_days: int = 60  # simulated before them, so that the log does not begin with an empty market
    forecast_days: int = 90  # after the last day; purchase probabilities are defined for them too
    scenarios: tuple[Scenario, ...] = ()
    # tastes and popularity
    zipf_exponent: float = 1.2  # popularity of the r-th product ~ r^-exponent
    taste_spread: float = 0.8  # of a user around the industry's taste, per subcategory
    category_spread: float = 0.5  # of a user around the industry's taste, per category
    brand_spread: float = 0.4
    latent_size: int = 6  # latent factors of taste; a product's attributes explain them only in part
    latent_spread: float = 0.45
    price_tolerance: float = 1.1  # width of the price fit, in standard deviations of a subcategory's log price
    trend_spread: float = 0.5  # drift of a product's log popularity over a year
    season_spread: float = 0.4  # amplitude of a subcategory's yearly season
    ramp_days: float = 30.0  # demand grows over them after a launch; before an end it falls over twice as many
    # purchase rates
    discovery_lines: float = 88.0  # expected lines of an average order if every product is new to the user
    known_factor: float = 0.12  # factor on the discovery rate of a product that the user has bought before
    staple_share: float = 0.35  # share of the consumables a user has bought that the user then buys regularly (staples)
    reorder_strength: float = 0.27  # expected lines of a staple at a visit when its cycle has passed
    reorder_width: float = 0.6  # width of the peak of the reorder rate in log(elapsed / cycle)
    cycle_days: float = 45.0  # median
    cycle_spread: float = 0.5
    bundle_share: float = 0.06  # of products that are the companion of another product
    bundle_probability: float = 0.25  # that the companion is added to the same order
    substitute_share: float = 0.1  # of products with a substitute: one order never holds both
    closed_subcategories: float = 0.1  # share of the subcategories that a user's contract excludes
    closed_brands: float = 0.05  # the same for brands
    # prices
    price_review_days: int = 91  # between two changes of a list price
    price_spread: float = 0.06  # of one change
    promotion_share: float = 0.02  # share of a product's weeks with a promotion
    promotion_discount: float = 0.15
    price_elasticity: float = 1.2  # median over products: demand ~ (price / price at the start)^-elasticity
    elasticity_spread: float = 0.4
    # visits
    visit_spread: float = 1.0
    basket_spread: float = 0.45  # between users
    size_floor: float = 0.15  # a visit's size is floor + (1 - floor) x Gamma(shape, mean 1)
    size_shape: float = 1.2
    weekday_factors: tuple[float, ...] = (1.15, 1.2, 1.2, 1.1, 0.95, 0.15, 0.1)  # Monday first
    new_users: float = 0.25
    leaving_users: float = 0.15
    new_products: float = 0.2
    dying_products: float = 0.15

    def __post_init__(self) -> None:
        for scenario in self.scenarios:
            self.day(scenario.start)

    @classmethod
    def scaled(cls, scale: float, seed: int) -> "WorldConfig":
        """A larger or smaller world. Users and orders grow with the scale, products with its square root."""
        return cls(
            n_users=max(10, round(cls.n_users * scale)),
            n_products=max(len(SUBCATEGORIES), round(cls.n_products * scale**0.5)),
            n_orders=max(50, round(cls.n_orders * scale)),
            seed=seed,
        )

    @property
    def visit_factors(self) -> tuple[float, ...]:
        """Visits on each weekday relative to the average day, Monday first."""
        return tuple(factor * 7 / sum(self.weekday_factors) for factor in self.weekday_factors)

    @property
    def n_days(self) -> int:
        """The number of simulated days, lead-in included."""
        return self.lead_in_days + self.days

    @property
    def all_days(self) -> int:
        """The number of simulated days and forecast days."""
        return self.n_days + self.forecast_days

    @property
    def first_date(self) -> date:
        """The date of day 0."""
        return self.end - timedelta(days=self.n_days - 1)

    def day(self, date: date) -> int:
        """The day number of a date. Raises ConfigurationError if it is neither a simulated nor a forecast day."""
        day = (date - self.first_date).days
        if not 0 <= day < self.all_days:
            last = self.first_date + timedelta(days=self.all_days - 1)
            raise ConfigurationError(f"the world has no day {date}; choose from {self.first_date} to {last}")
        return day
