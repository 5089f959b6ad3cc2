"""What a list is made for: a user as the model knows them, the scene, and the items that may be in the list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from serving.steering.catalogue.attributes import AttributeTable
from serving.steering.rules.active_rules import Steering

Scene = Literal["for_you", "reorder", "discover", "basket"]

EVENT_WEIGHT = 1.0  # of one event in a request's history: a purchase


@dataclass(frozen=True, eq=False)
class Query:
    """A user, as the model knows them, and what the list is for."""

    user_row: int  # of the training log; -1 for a cold-start user
    known: Histories  # (1, n_items): the stored events of the user, then those of the request
    n_stored: int  # number of stored events
    scene: Scene
    eligible: NDArray[np.bool_] | None  # (n_items,) the only items that may be in the list; None: all
    steering: Steering | None = None  # the rules; `eligible` obeys them already
    allows_bought: bool = False  # rules allow items of the history, where users do not buy an item again
    asked: NDArray[np.bool_] | None = None  # `eligible` without the rules
    user_id: str = ""
    users: AttributeTable | None = None  # the attributes of all users, for a list by segment; None: not known
    diversity: float = 0.0  # from 0, off, to 1 (serving.lists.diversity)

    @property
    def is_steered(self) -> bool:
        """Whether the list is not always the beginning of the model's list."""
        steering = self.steering
        return self.diversity > 0 or (steering is not None and (steering.orders or steering.draw is not None))

    @property
    def new_items(self) -> bool | None:
        """Whether items of the history are left out; None: as the log's users do not buy an item again."""
        if self.allows_bought:
            return False  # `eligible` lacks those that no rule allows
        return None if self.scene == "for_you" else True

    def attributes(self, names: Sequence[str]) -> dict[str, str]:
        """Those of the named attributes of the user that are a text."""
        if self.users is None or (row := self.users.row(self.user_id)) < 0:
            return {}
        found = {name: self.users.columns[name].value(row) for name in names if name in self.users.columns}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def excludes_known(self, repeat: bool) -> bool:
        """Whether no item of the history may be in the list. repeat: whether the log's users buy an item again."""
        return self.scene != "reorder" and (not repeat if self.new_items is None else self.new_items)

    def candidates(self, on_sale: NDArray[np.bool_], repeat: bool) -> NDArray[np.bool_]:
        """(n_items,) the items that may be in the list."""
        found = on_sale.copy() if self.eligible is None else on_sale & self.eligible
        if self.scene == "reorder":
            own = np.zeros(len(found), np.bool_)
            own[self.known.item_columns] = True
            found &= own
        elif self.excludes_known(repeat):
            found[self.known.item_columns] = False
        return found

    def candidates_without_rules(self, on_sale: NDArray[np.bool_], repeat: bool) -> NDArray[np.bool_]:
        """candidates() if there were no rules."""
        return replace(self, eligible=self.asked, steering=None, allows_bought=False).candidates(on_sale, repeat)

    def by(self, steering: Steering, repeat: bool) -> "Query":
        """The query, with only the items that the rules allow."""
        eligible, allows_bought = steering.eligible(self.eligible, self.known.n_items), False
        if self.scene == "for_you":
            bought = np.unique(self.known.item_columns)
            forbidden = bought[~steering.allowed(bought, repeat)]
            allows_bought = not repeat and len(forbidden) < len(bought)
            if len(forbidden) and (repeat or allows_bought):
                eligible = allowed_without(eligible, forbidden, self.known.n_items)
        return replace(self, eligible=eligible, steering=steering, allows_bought=allows_bought, asked=self.eligible)

    def without(self, column: int, stays_out: bool) -> "Query":
        """The query if the events of an item did not exist. stays_out: the item does not become a candidate by that."""
        kept = self.known.item_columns != column
        n_stored = int(kept[: self.n_stored].sum())
        eligible = allowed_without(self.eligible, [column], self.known.n_items) if stays_out else self.eligible
        row, known = self.user_row if n_stored else -1, self.known.select(kept)
        return replace(self, user_row=row, known=known, n_stored=n_stored, eligible=eligible)


def only_later(row: int, stored: Histories, since: int) -> tuple[int, Histories]:
    """The row and the stored events of a user of whom only events after a time may count.

    If there are earlier ones, the row was fitted on them too: then it is -1, a cold-start user with the later events.
    """
    later = stored.timestamps > since
    return (row, stored) if later.all() else (-1, stored.select(later))


def allowed_without(
    allowed: NDArray[np.bool_] | None, columns: Sequence[int] | NDArray[np.int32], n_items: int
) -> NDArray[np.bool_]:
    """(n_items,): the allowed items, by default all, without those of some columns."""
    left = np.ones(n_items, np.bool_) if allowed is None else allowed.copy()
    left[columns] = False
    return left


def append_events(stored: Histories, columns: NDArray[np.int32], now: int) -> Histories:
    """One user's history, followed by one event at time `now` for each of the item columns."""
    n_new = len(columns)
    return Histories(
        np.array([0, len(stored.item_columns) + n_new]),
        np.concatenate([stored.item_columns, columns]),
        np.concatenate([stored.timestamps, np.full(n_new, now)]),
        np.concatenate([stored.weights, np.full(n_new, EVENT_WEIGHT, dtype=np.float32)]),
        stored.n_items,
    )
