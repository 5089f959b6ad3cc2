"""The true probability of every purchase, given all that happened before: what no model can know better.

Of one buyer and one product without a partner: until the next purchase its x is a known function of the day, and
days are independent, so with p_d the chance of a visit on day d that lies within the window

    P(not bought) = product over d of 1 - p_d (1 - L(x_d))

where L(x) = E exp(-s x) is the Laplace transform of a visit's size s = f + (1 - f) Gamma(k, mean 1):

    L(x) = exp(-f x) (1 + (1 - f) x / k)^-k

A product whose partner's purchases matter needs the partner's state too: not bought within the window, or last
bought on one of its days. Let a(state) be the chance that the product is not yet bought and the partner is in that
state. A visit leads from it, with x of the product and y(state) of the partner,

    companion of an anchor, offered with chance q:            of two substitutes, the first ring winning:
      bought              1 - (1 - q) L(x) - q L(x + y)         x / (x + y) (1 - L(x + y))
      only the partner    (1 - q) (L(x) - L(x + y))             y / (x + y) (1 - L(x + y))
      neither             L(x + y)                              L(x + y)

and the sum of a(state) p_d P(bought) over states and days is the probability asked for. The state of a partner that
is no staple of the buyer is just bought or not, because its x does not depend on the day of its last purchase. An
anchor does not care for its companion. Scenarios that start within the window are known; a broken feed is none of
the law. Nothing is approximated but the rounding of floats.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.demand import NEVER, share_before, simulate, visits
from recommenders.simulation.market import COMPANION, SUBSTITUTE, Bools, Floats, Ints
from recommenders.simulation.orders import Era, World, pair_traits, reorder_wish, visit_probability

BLOCK = 128  # buyers whose probabilities are held at once

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """What happened to some buyers up to a moment, lead-in included."""

    as_of: datetime  # UTC
    rows: Ints  # (n_rows,)
    last_bought: NDArray[np.int16]  # (n_rows, n_products), the day or NEVER
    came_today: Bools  # (n_rows,): whether the day's visit lies behind


def history(world: World, rows: Ints, as_of: datetime) -> History:
    """The buyers' past, simulated anew; as_of without a zone is UTC.

    Raises ConfigurationError for a moment outside the days for which the law is stated.
    """
    as_of = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
    day, second = world.config.day(as_of.date()), _second(as_of)
    lines = simulate(world, rows, range(day + 1))
    lines = lines[(lines["day"] < day) | (lines["second"] <= second)]
    places = np.full(world.config.n_buyers, -1)
    places[rows] = np.arange(len(rows))
    last = np.full((len(rows), world.n_products), NEVER, dtype=np.int16)
    last[places[lines["buyer"]], lines["product"]] = lines["day"]  # in time order, so the last one stays
    chance = visit_probability(world, rows, np.arange(world.config.all_days))
    came = np.zeros(len(rows), dtype=np.bool_)
    for place, row in enumerate(rows):
        days, seconds = visits(world, int(row), chance[place])
        came[place] = bool((seconds[days == day] <= second).any())
    return History(as_of, rows, last, came)


def purchase_probabilities(
    world: World, as_of: datetime, horizon: int, rows: Ints | None = None, block: int = BLOCK
) -> Iterator[tuple[Ints, Floats]]:
    """(buyer rows, their probabilities) block after block, so that no table of all buyers is ever held; by default
    of all buyers. The rest as purchase_probability.
    """
    rows = np.arange(world.config.n_buyers) if rows is None else rows
    for start in range(0, len(rows), block):
        past = history(world, rows[start : start + block], as_of)
        yield past.rows, purchase_probability(world, past, horizon)


def purchase_probability(world: World, past: History, horizon: int) -> Floats:
    """Chance that each buyer buys each product at least once within `horizon` days of 24 hours after past.as_of;
    (n_rows, n_products). 0 for what is never on sale or closed to the buyer.

    Raises ConfigurationError if horizon is below 1 or the window reaches past the days for which the law is stated.
    """
    days, chance = _window(world, past, horizon)
    shelf = Shelf(world, past)
    log_missed = np.zeros(past.last_bought.shape, dtype=np.float32)
    groups = [Pairs(world, past, shelf, role, len(days)) for role in (COMPANION, SUBSTITUTE)]
    for place, day in enumerate(days):
        shelf.open(int(day))
        p = chance[:, place].astype(np.float32)[:, None]
        log_missed += np.log1p(-p * bought_probability(world.config, shelf.x))
        for pairs in groups:
            pairs.step(int(day), days[:place], chance[:, place])
    found = -np.expm1(log_missed)
    for pairs in groups:
        found[:, pairs.products] = pairs.bought
    return found


def _window(world: World, past: History, horizon: int) -> tuple[Ints, Doubles]:
    """The days that the window touches, (n_days,), and the chance of a visit of each buyer on the part of each
    that lies within, (n_rows, n_days).
    """
    if horizon < 1:
        raise ConfigurationError(f"horizon of the window is {horizon} days; it must be at least 1")
    end = past.as_of + timedelta(days=horizon)
    last = end - timedelta(microseconds=1) if _second(end) == 0 else end
    days = np.arange(world.config.day(past.as_of.date()), world.config.day(last.date()) + 1)
    chance = visit_probability(world, past.rows, days)
    if _second(end):
        chance[:, -1] *= share_before(_second(end))
    today = visit_probability(world, past.rows, days[:1])[:, 0]
    gone = today * share_before(_second(past.as_of))
    # who has not come yet today is a little less likely to come at all
    later = (chance[:, 0] - gone) / (1 - gone)
    chance[:, 0] = np.where(past.came_today, 0.0, later.clip(min=0.0))
    return days, chance


def _second(moment: datetime) -> float:
    return (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


def bought_probability(config: WorldConfig, x: NDArray[Any]) -> NDArray[Any]:
    """1 - L(x): the chance that a visit of unknown size takes a product of intensity x; of x's shape and type."""
    floor, shape = config.size_floor, config.size_shape
    return -np.expm1(-(floor * x + shape * np.log1p((1 - floor) / shape * x)))


class Shelf:
    """The x of all products for some buyers, day by day, as long as nothing is bought within the window."""

    def __init__(self, world: World, past: History) -> None:
        self.world, self.rows = world, past.rows
        self.known = np.nonzero(past.last_bought != NEVER)  # places, products
        staple, cycle = pair_traits(world.eras[-1], past.rows[self.known[0]], self.known[1])
        self.staples, self.cycle = (self.known[0][staple], self.known[1][staple]), cycle[staple]
        self.last = past.last_bought[self.staples]
        self.x = np.zeros(past.last_bought.shape, dtype=np.float32)
        self.era: Era | None = None

    def open(self, day: int) -> None:
        """Moves on to a day: `x` is (n_rows, n_products)."""
        era = self.world.era(day)
        if era is not self.era:
            self.era, self.wish = era, era.wish(self.rows)
        self.day = day
        n = self.wish.shape[1]  # a coming wave is not among them
        np.multiply(self.wish, era.discovery[day], out=self.x[:, :n])
        self.x[self.known] *= np.float32(self.world.config.known_factor)
        places, products = self.staples
        self.x[self.staples] += reorder_wish(era, self.rows[places], products, self.cycle, self.last, day)

    def once_bought(self, products: Ints) -> Doubles:
        """x on that day of products bought within the window, staples' reorders left out; (n_rows, len(products))."""
        factor = self.world.config.known_factor * self.world.era(self.day).discovery[self.day, products]
        x: Doubles = self.wish[:, products].astype(np.float64) * factor
        return x

    def open_to(self, products: Ints) -> Bools:
        """Whether contract and calendar let each buyer have them that day, (n_rows, len(products))."""
        is_open: Bools = (self.wish[:, products] > 0) & (self.world.era(self.day).discovery[self.day, products] > 0)
        return is_open


class Pairs:
    """The forward recursion for the products of one role; `bought` is their probability so far, (n_rows, n_pairs).

    Of the chance that a product is not yet bought, `fresh` is the part where its partner is not bought within the
    window either, `settled` that where it is and is no staple, and `late` (n_staples, n_days) that of partners
    which are staples, by the day of their last purchase.
    """

    def __init__(self, world: World, past: History, shelf: Shelf, role: int, n_days: int) -> None:
        self.world, self.rows, self.shelf = world, past.rows, shelf
        products = world.eras[0].products
        self.is_bundle = role == COMPANION
        self.products = np.flatnonzero(products.role == role)
        self.partners = products.partner[self.products]
        shape = (len(past.rows), len(self.products))
        self.bought, self.fresh, self.settled = np.zeros(shape), np.ones(shape), np.zeros(shape)
        staple, cycle = pair_traits(world.eras[0], past.rows[:, None], self.partners[None, :])
        self.is_plain, self.staples, self.cycle = ~staple, np.nonzero(staple), cycle[staple]
        self.late = np.zeros((len(self.cycle), n_days))

    def step(self, day: int, days: Ints, chance: Doubles) -> None:
        """One day: `days` are those of the window before it, chance (n_rows,) that of a visit."""
        x = self.shelf.x[:, self.products].astype(np.float64)
        offered = self.shelf.open_to(self.products) * np.float64(self.world.config.bundle_probability)
        moved = self._leave_fresh(x, offered, chance[:, None])
        self._leave_settled(x, offered, chance[:, None])
        self.settled += moved * self.is_plain
        back = self._leave_late(x, offered, chance, day, days)
        self.late[:, len(days)] = moved[self.staples] + back

    def _leave_fresh(self, x: Doubles, offered: Doubles, p: Doubles) -> Doubles:
        """Returns the chance that the partner alone was bought."""
        bought, partner = self._outcomes(x, self.shelf.x[:, self.partners].astype(np.float64), offered)
        self.bought += self.fresh * p * bought
        moved: Doubles = self.fresh * p * partner
        self.fresh *= 1 - p * (bought + partner)
        return moved

    def _leave_settled(self, x: Doubles, offered: Doubles, p: Doubles) -> None:
        bought, _ = self._outcomes(x, self.shelf.once_bought(self.partners), offered)
        self.bought += self.settled * p * bought
        self.settled *= 1 - p * bought

    def _leave_late(self, x: Doubles, offered: Doubles, chance: Doubles, day: int, days: Ints) -> Doubles:
        """Returns the chance that a staple partner was bought again, (n_staples,)."""
        places, columns = self.staples
        p, late = chance[places, None], self.late[:, : len(days)]
        y = self.shelf.once_bought(self.partners)[self.staples][:, None] + reorder_wish(
            self.world.era(day), self.rows[places, None], self.partners[columns, None], self.cycle[:, None], days, day
        )
        bought, partner = self._outcomes(x[self.staples][:, None], y, offered[self.staples][:, None])
        self.bought[self.staples] += (late * p * bought).sum(axis=1)
        back: Doubles = (late * p * partner).sum(axis=1)
        late *= 1 - p * (bought + partner)
        return back

    def _outcomes(self, x: Doubles, y: Doubles, offered: Doubles) -> tuple[Doubles, Doubles]:
        """Of a visit: the chances that the product is bought, and that its partner alone is."""
        any_of_both = bought_probability(self.world.config, x + y)
        if self.is_bundle:
            alone = bought_probability(self.world.config, x)
            return (1 - offered) * alone + offered * any_of_both, (1 - offered) * (any_of_both - alone)
        share = x / np.maximum(x + y, np.finfo(np.float64).tiny)
        return share * any_of_both, (1 - share) * any_of_both
