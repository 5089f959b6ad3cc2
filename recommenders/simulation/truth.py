"""The true probability of every purchase, given all events before it: the ground truth that the oracle ranks by.

For one user and one product without a partner: until the next purchase its rate x is a known function of the day, and
days are independent, so with p_d the probability of a visit on day d that lies within the window

    P(not bought) = product over d of 1 - p_d (1 - L(x_d))

where L(x) = E exp(-s x) is the Laplace transform of the visit size s = f + (1 - f) Gamma(k, mean 1):

    L(x) = exp(-f x) (1 + (1 - f) x / k)^-k

A product whose purchase depends on its partner needs the partner's state too: not bought within the window, or last
bought on one of its days. Let a(state) be the probability that the product is not yet bought and the partner is in
that state. With rate x of the product and y(state) of the partner, a visit has the outcomes

    companion of an anchor, offered with probability q:       of two substitutes, the first arrival counts:
      bought              1 - (1 - q) L(x) - q L(x + y)         x / (x + y) (1 - L(x + y))
      only the partner    (1 - q) (L(x) - L(x + y))             y / (x + y) (1 - L(x + y))
      neither             L(x + y)                              L(x + y)

and the sum of a(state) p_d P(bought) over states and days is the purchase probability. A partner that is no staple of
the user has only the states bought and not bought, because its rate does not depend on the day of its last purchase. An
anchor does not depend on its companion. Scenarios that start within the window are included, except broken_feed, which
changes no purchase. The computation is exact up to floating-point rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market import COMPANION, SUBSTITUTE, Bools, Floats, Ints
from recommenders.simulation.order_sampling import NEVER, share_before, simulate, visits
from recommenders.simulation.purchase_model import Era, World, reorder_rate, repurchase_cycles, visit_probability

BLOCK = 128  # users whose probabilities are in memory at the same time

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """The purchases of some users up to a time, lead-in included."""

    as_of: datetime  # UTC
    rows: Ints  # (n_rows,)
    last_bought: NDArray[np.int16]  # (n_rows, n_products), the day or NEVER
    visited_today: Bools  # (n_rows,): whether the user has already visited on the day of as_of


def history(world: World, rows: Ints, as_of: datetime) -> History:
    """The users' history, simulated again; as_of without a time zone is UTC.

    Raises ConfigurationError for a time outside the simulated and forecast days.
    """
    as_of = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of.astimezone(UTC)
    day, second = world.config.day(as_of.date()), _second(as_of)
    lines = simulate(world, rows, range(day + 1))
    lines = lines[(lines["day"] < day) | (lines["second"] <= second)]
    positions = np.full(world.config.n_users, -1)
    positions[rows] = np.arange(len(rows))
    last = np.full((len(rows), world.n_products), NEVER, dtype=np.int16)
    last[positions[lines["user"]], lines["product"]] = lines["day"]  # in time order, so the last purchase remains
    p_visit = visit_probability(world, rows, np.arange(world.config.all_days))
    visited = np.zeros(len(rows), dtype=np.bool_)
    for index, row in enumerate(rows):
        days, seconds = visits(world, int(row), p_visit[index])
        visited[index] = bool((seconds[days == day] <= second).any())
    return History(as_of, rows, last, visited)


def purchase_probabilities(
    world: World, as_of: datetime, horizon: int, rows: Ints | None = None, block: int = BLOCK
) -> Iterator[tuple[Ints, Floats]]:
    """(user rows, their probabilities) of each block of users, so that memory does not grow with the number of users;
    rows: by default all users. The rest as purchase_probability.
    """
    rows = np.arange(world.config.n_users) if rows is None else rows
    for start in range(0, len(rows), block):
        past = history(world, rows[start : start + block], as_of)
        yield past.rows, purchase_probability(world, past, horizon)


def purchase_probability(world: World, past: History, horizon: int) -> Floats:
    """Probability that each user buys each product at least once within `horizon` days of 24 hours after past.as_of;
    (n_rows, n_products). 0 for products that are never on sale or that the user's contract excludes.

    Raises ConfigurationError if horizon is below 1 or the window ends after the last forecast day.
    """
    days, p_visit = _window(world, past, horizon)
    rates = PurchaseRates(world, past)
    log_not_bought = np.zeros(past.last_bought.shape, dtype=np.float32)
    groups = [PairedProducts(world, past, rates, role, len(days)) for role in (COMPANION, SUBSTITUTE)]
    for index, day in enumerate(days):
        rates.advance(int(day))
        p = p_visit[:, index].astype(np.float32)[:, None]
        log_not_bought += np.log1p(-p * visit_purchase_probability(world.config, rates.x))
        for paired in groups:
            paired.step(int(day), days[:index], p_visit[:, index])
    found = -np.expm1(log_not_bought)
    for paired in groups:
        found[:, paired.products] = paired.bought
    return found


def any_purchase_probability(world: World, past: History, horizon: int) -> Doubles:
    """(n_rows,) probability that each user buys anything within the window of purchase_probability(). Raises as it.

    Until the first purchase all rates are known, and a visit includes no product with the probability L(their sum).
    """
    days, p_visit = _window(world, past, horizon)
    rates = PurchaseRates(world, past)
    log_nothing = np.zeros(len(past.rows))
    for index, day in enumerate(days):
        rates.advance(int(day))
        total = rates.x.sum(axis=1, dtype=np.float64)
        log_nothing += np.log1p(-p_visit[:, index] * visit_purchase_probability(world.config, total))
    return np.asarray(-np.expm1(log_nothing))


def _window(world: World, past: History, horizon: int) -> tuple[Ints, Doubles]:
    """The days that overlap the window, (n_days,), and the probability that each user visits on each of them within the
    window, (n_rows, n_days).
    """
    if horizon < 1:
        raise ConfigurationError(f"horizon of the window is {horizon} days; it must be at least 1")
    end = past.as_of + timedelta(days=horizon)
    last = end - timedelta(microseconds=1) if _second(end) == 0 else end
    days = np.arange(world.config.day(past.as_of.date()), world.config.day(last.date()) + 1)
    p_visit = visit_probability(world, past.rows, days)
    if _second(end):
        p_visit[:, -1] *= share_before(_second(end))
    today = visit_probability(world, past.rows, days[:1])[:, 0]
    p_visited = today * share_before(_second(past.as_of))
    # given no visit so far today, the probability of a visit later today
    later = (p_visit[:, 0] - p_visited) / (1 - p_visited)
    p_visit[:, 0] = np.where(past.visited_today, 0.0, later.clip(min=0.0))
    return days, p_visit


def _second(time: datetime) -> float:
    return (time - time.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


def visit_purchase_probability(config: WorldConfig, x: NDArray[Any]) -> NDArray[Any]:
    """1 - L(x): the probability that a visit of random size includes a product of rate x; shape and type as x."""
    floor, shape = config.size_floor, config.size_shape
    return -np.expm1(-(floor * x + shape * np.log1p((1 - floor) / shape * x)))


class PurchaseRates:
    """The rates x of all products for some users, day by day, as long as nothing is bought within the window."""

    def __init__(self, world: World, past: History) -> None:
        self.world, self.rows = world, past.rows
        self.known = np.nonzero(past.last_bought != NEVER)  # positions, products
        staple, cycle = repurchase_cycles(world.eras[-1], past.rows[self.known[0]], self.known[1])
        self.staples, self.cycle = (self.known[0][staple], self.known[1][staple]), cycle[staple]
        self.last = past.last_bought[self.staples]
        self.x = np.zeros(past.last_bought.shape, dtype=np.float32)
        self.era: Era | None = None

    def advance(self, day: int) -> None:
        """Sets `x`, (n_rows, n_products), to the rates of a day."""
        era = self.world.era(day)
        if era is not self.era:
            self.era, self.discovery_rate = era, era.discovery_rate(self.rows)
        self.day = day
        n = self.discovery_rate.shape[1]  # without products that a later scenario launches
        np.multiply(self.discovery_rate, era.day_factor[day], out=self.x[:, :n])
        self.x[self.known] *= np.float32(self.world.config.known_factor)
        positions, products = self.staples
        self.x[self.staples] += reorder_rate(era, self.rows[positions], products, self.cycle, self.last, day)

    def repeat_rate(self, products: Ints) -> Doubles:
        """Rates of products that were bought within the window, without reorders; (n_rows, len(products))."""
        factor = self.world.config.known_factor * self.world.era(self.day).day_factor[self.day, products]
        x: Doubles = self.discovery_rate[:, products].astype(np.float64) * factor
        return x

    def is_available(self, products: Ints) -> Bools:
        """Whether each product is on sale that day and in the user's contract, (n_rows, len(products))."""
        available: Bools = (self.discovery_rate[:, products] > 0) & (
            self.world.era(self.day).day_factor[self.day, products] > 0
        )
        return available


class PairedProducts:
    """The forward recursion for the products of one role; `bought` is their probability so far, (n_rows, n_pairs).

    The probability that a product is not yet bought has three parts: `partner_not_bought`, its partner is not bought
    within the window either; `partner_bought`, it is and is no staple; `staple_partner_bought` (n_staples, n_days), it
    is and is a staple, by the day of its last purchase.
    """

    def __init__(self, world: World, past: History, rates: PurchaseRates, role: int, n_days: int) -> None:
        self.world, self.rows, self.rates = world, past.rows, rates
        products = world.eras[0].products
        self.is_bundle = role == COMPANION
        self.products = np.flatnonzero(products.role == role)
        self.partners = products.partner[self.products]
        shape = (len(past.rows), len(self.products))
        self.bought, self.partner_not_bought, self.partner_bought = np.zeros(shape), np.ones(shape), np.zeros(shape)
        staple, cycle = repurchase_cycles(world.eras[0], past.rows[:, None], self.partners[None, :])
        self.is_not_staple, self.staples, self.cycle = ~staple, np.nonzero(staple), cycle[staple]
        self.staple_partner_bought = np.zeros((len(self.cycle), n_days))

    def step(self, day: int, days: Ints, p_visit: Doubles) -> None:
        """Adds one day: `days` are the days of the window before it, p_visit (n_rows,) the probability of a visit."""
        x = self.rates.x[:, self.products].astype(np.float64)
        offered = self.rates.is_available(self.products) * np.float64(self.world.config.bundle_probability)
        partner_alone = self._step_partner_not_bought(x, offered, p_visit[:, None])
        self._step_partner_bought(x, offered, p_visit[:, None])
        self.partner_bought += partner_alone * self.is_not_staple
        partner_again = self._step_staple_partner(x, offered, p_visit, day, days)
        self.staple_partner_bought[:, len(days)] = partner_alone[self.staples] + partner_again

    def _step_partner_not_bought(self, x: Doubles, offered: Doubles, p: Doubles) -> Doubles:
        """Returns the probability that only the partner was bought."""
        bought, partner = self._outcomes(x, self.rates.x[:, self.partners].astype(np.float64), offered)
        self.bought += self.partner_not_bought * p * bought
        partner_alone: Doubles = self.partner_not_bought * p * partner
        self.partner_not_bought *= 1 - p * (bought + partner)
        return partner_alone

    def _step_partner_bought(self, x: Doubles, offered: Doubles, p: Doubles) -> None:
        bought, _ = self._outcomes(x, self.rates.repeat_rate(self.partners), offered)
        self.bought += self.partner_bought * p * bought
        self.partner_bought *= 1 - p * bought

    def _step_staple_partner(self, x: Doubles, offered: Doubles, p_visit: Doubles, day: int, days: Ints) -> Doubles:
        """Returns the probability that a staple partner was bought again, (n_staples,)."""
        positions, columns = self.staples
        p, staple_bought = p_visit[positions, None], self.staple_partner_bought[:, : len(days)]
        y = self.rates.repeat_rate(self.partners)[self.staples][:, None] + reorder_rate(
            self.world.era(day),
            self.rows[positions, None],
            self.partners[columns, None],
            self.cycle[:, None],
            days,
            day,
        )
        bought, partner = self._outcomes(x[self.staples][:, None], y, offered[self.staples][:, None])
        self.bought[self.staples] += (staple_bought * p * bought).sum(axis=1)
        partner_again: Doubles = (staple_bought * p * partner).sum(axis=1)
        staple_bought *= 1 - p * (bought + partner)
        return partner_again

    def _outcomes(self, x: Doubles, y: Doubles, offered: Doubles) -> tuple[Doubles, Doubles]:
        """For a visit: the probabilities that the product is bought, and that only its partner is bought."""
        p_either = visit_purchase_probability(self.world.config, x + y)
        if self.is_bundle:
            p_alone = visit_purchase_probability(self.world.config, x)
            return (1 - offered) * p_alone + offered * p_either, (1 - offered) * (p_either - p_alone)
        share = x / np.maximum(x + y, np.finfo(np.float64).tiny)
        return share * p_either, (1 - share) * p_either
