"""The market played day by day: who visits, what each visit buys, and how likely each purchase was."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.market import Floats, Ints
from recommenders.simulation.order_sampling import NEVER, Lines, in_time_order, simulate, visits
from recommenders.simulation.purchase_model import World, visit_probability
from recommenders.simulation.truth import History, purchase_probability


@dataclass(frozen=True, eq=False)
class Visit:
    """One visit of a user. lines: its order, empty if nothing was bought."""

    user: int  # row
    second: int  # of the day
    lines: Lines


@dataclass(frozen=True, eq=False)
class Exchange:
    """From a day on, users buy as others did: each with the tastes, repurchases and stock of another user.

    So each user changes, and the market as a whole does not at all. behind: (n_users,) whose behaviour a user has from
    `day` on, a permutation.
    """

    day: int
    behind: Ints


def exchange(world: World, day: int) -> Exchange:
    """An exchange of all users who are active on a day, each with one of the same business type and region."""
    users = world.era(day).users
    behind = np.arange(world.config.n_users)
    rng = np.random.default_rng([world.config.seed, day])
    active = (users.join_day <= day) & (day < users.leave_day)
    cells = np.stack([users.business_type, users.region], axis=1)
    for cell in np.unique(cells[active], axis=0):
        members = rng.permutation(np.flatnonzero(active & (cells == cell).all(axis=1)))
        behind[members] = np.roll(members, 1)  # no user stays the same, except one who is alone
    return Exchange(day, behind)


class MarketDays:
    """The days of a world, all simulated at once, so for small worlds: about a second for 300 users and 200 days."""

    def __init__(self, world: World, exchange: Exchange | None = None) -> None:
        self.world = world
        self._exchange = exchange

    @cached_property
    def lines(self) -> Lines:
        """All order lines in time order, lead-in included."""
        found = self._simulated.copy()
        if self._exchange:
            late = found["day"] >= self._exchange.day
            found["user"][late] = np.argsort(self._exchange.behind)[found["user"][late]]
        return in_time_order(found)

    def lines_between(self, first: int, end: int) -> Lines:
        """The order lines from a day to before another one."""
        begin, stop = np.searchsorted(self.lines["day"], (first, end))
        return self.lines[begin:stop]

    def visits(self, day: int) -> list[Visit]:
        """The visits of a day in the order of their time."""
        user_of = np.argsort(self._behind(day))
        found = sorted((second, int(user_of[row])) for second, row in self._visits[day])
        lines = self.lines_between(day, day + 1)
        return [Visit(user, second, lines[lines["user"] == user]) for second, user in found]

    def probabilities(self, day: int, rows: Ints) -> Floats:
        """(len(rows), n_products) how likely the visit of each of these users on a day buys each product.

        It is the probability of a purchase on that day, given all before it, over the probability of a visit.
        """
        rows = self._behind(day)[rows]
        start = datetime.combine(self._date(day), time(), UTC)
        past = History(start, rows, self._last_bought(day)[rows], np.zeros(len(rows), dtype=np.bool_))
        p_visit = visit_probability(self.world, rows, np.array([day]))
        return (purchase_probability(self.world, past, 1) / p_visit).astype(np.float32)

    @cached_property
    def _simulated(self) -> Lines:
        """The order lines without an exchange."""
        return simulate(self.world, np.arange(self.world.config.n_users))

    def _behind(self, day: int) -> Ints:
        """(n_users,) whose behaviour each user has on a day."""
        if self._exchange and day >= self._exchange.day:
            return self._exchange.behind
        return np.arange(self.world.config.n_users)

    def _date(self, day: int) -> date:
        return self.world.config.first_date + timedelta(days=day)

    def _last_bought(self, day: int) -> NDArray[np.int16]:
        """(n_users, n_products) the day of the last purchase before a day, or NEVER; without an exchange."""
        last = np.full((self.world.config.n_users, self.world.n_products), NEVER, dtype=np.int16)
        lines = self._simulated[: np.searchsorted(self._simulated["day"], day)]
        last[lines["user"], lines["product"]] = lines["day"]  # in time order, so the last purchase remains
        return last

    @cached_property
    def _visits(self) -> list[list[tuple[int, int]]]:
        """(second, user) of the visits of each day, without an exchange."""
        config = self.world.config
        found: list[list[tuple[int, int]]] = [[] for _ in range(config.all_days)]
        p_visit = visit_probability(self.world, np.arange(config.n_users), np.arange(config.all_days))
        for user in range(config.n_users):
            days, seconds = visits(self.world, user, p_visit[user])
            for day, second in zip(days.tolist(), seconds.tolist(), strict=True):
                found[day].append((second, user))
        return found
