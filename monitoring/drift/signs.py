"""The signs of a broken feed: properties of events whose shares a healthy feed keeps from window to window."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.drift.events import Codes, Events, Flags, Window
from monitoring.drift.shift import prediction_limit

VALUES = ("order_id", "quantity", "unit_price", "rating")  # not what comes later by nature, such as returns
ATTRIBUTES = {
    "item": ("title", "category", "subcategory", "brand", "price", "text"),
    "user": ("segment", "industry", "region", "annual_revenue", "credit_limit"),
}
ALIKE = ("user_id", "item_id", "event", "quantity", "unit_price", "rating")  # what makes a row a repetition

# A share that moved by less than its margin is no sign, however steady the past was.
VALUE_MARGIN = 0.1
ATTRIBUTE_MARGIN = 0.2  # new items and users are often described later
SEEN_MARGIN = 0.3  # catalogues and customers grow
REWRITTEN_MARGIN = 0.05
REPEATED_MARGIN = 0.2
# Less than a third of the least that any past window had is a sign however much the past varied, unless that least
# was little itself.
GROSS, GROSS_LEAST = 1 / 3, 0.2
CONSTANT = 0.9  # the share of one value below which it is no constant, such as of a user with very many events
FEW_WINDOWS, FEW_WINDOWS_MARGIN = 3, 0.5  # fewer past windows say little of their spread
MIN_EVENTS = 20  # events that a sign is counted on; expected events of a kind, so that none is no chance

Shares = NDArray[np.float64]
Limits = Callable[[Shares, int, float], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Sign:
    """A property of single events.

    says: the property, in words that "in 5% of the events" can follow. hits: whether each event of a window has it,
    (n_rows,). limits: from past shares, the number of the newest events and alpha to the lowest and highest share
    that is no fault. example: an event (row) in words. applies: (n,) the events that are counted, None: all. ids: (n,)
    what the share is about, if not single events; past windows with few of them say nothing. once: count an id once.
    needs_history: the share means nothing at the begin of the log.
    """

    column: str
    says: str
    hits: Callable[[Window], Flags]
    limits: Limits
    example: Callable[[int], str]
    applies: Flags | None = None
    ids: Codes | None = None
    once: bool = False
    needs_history: bool = False

    def share(self, window: Window) -> float:
        """Share of a window's events (or ids) that have the property; nan if it applies to too few."""
        window = self._counted(window)
        return float(self.hits(window).mean()) if window.rows.size >= MIN_EVENTS else float("nan")

    def past_shares(self, past: Sequence[Window]) -> Shares:
        """The shares of those past windows (newest first) that can be compared with the newest one."""
        usable = past[:-1] if self.needs_history else past
        shares = np.array([self.share(window) for window in usable if self._has_ids(window)], np.float64)
        return np.extract(~np.isnan(shares), shares)

    def last(self, window: Window, hit: bool) -> int:
        """The window's last event that has the property (hit), or has it not."""
        window = self._counted(window)
        return int(window.rows[self.hits(window) == hit].max())

    def _has_ids(self, window: Window) -> bool:
        return self.ids is None or np.unique(self.ids[window.rows]).size >= MIN_EVENTS

    def _counted(self, window: Window) -> Window:
        rows = window.rows if self.applies is None else window.rows[self.applies[window.rows]]
        if self.once and self.ids is not None:
            rows = rows[np.unique(self.ids[rows], return_index=True)[1]]
        return Window(rows, window.begin)


def signs(log: Events, items: pa.Table, users: pa.Table | None, earlier_items: pa.Table) -> list[Sign]:
    """Every sign that the log can show; of one column the most telling first.

    items: the catalogue, every state. earlier_items: as it was read before; what it knew of past events counts too.
    """
    found = [*_ids(log, "item_id"), *_ids(log, "user_id"), *_kinds(log)]
    found += [_values(log, name, log.known(name), _carriers(log, log.known(name)), VALUE_MARGIN) for name in VALUES]
    past = np.arange(log.seconds.size) < log.n_reference
    was, now = (log.described(table, "item_id", ATTRIBUTES["item"]) for table in (earlier_items, items))
    described = {f"the item's {name}": now[name] | (was[name] & past) for name in now}
    if users is not None:
        of_users = log.described(users, "user_id", ATTRIBUTES["user"])
        described |= {f"the user's {name}": known for name, known in of_users.items()}
    found += [_values(log, name, known, None, ATTRIBUTE_MARGIN) for name, known in described.items()]
    for name in ("item_id", "user_id", "timestamp", "quantity", "unit_price", "rating"):
        is_id = name.endswith("_id")
        found.append(_constant(name, log.codes(name), partial(_shown, log, name), is_id))
    of_day = np.unique(log.seconds % 86_400, return_inverse=True)[1]
    found.append(_constant("time of day", of_day, partial(_shown, log, "timestamp"), is_id=False))
    found.append(_repeated(log))
    return found


def _ids(log: Events, name: str) -> Iterator[Sign]:
    """Ids written otherwise than before, and ids that no earlier event has."""
    codes, values = log.factorized(name)
    plain_of_value = pd.factorize(np.array([plain_id(value) for value in values]))[0]
    plain = plain_of_value[codes]
    first, first_plain = _first(log, codes), _first(log, plain)

    def rewritten(window: Window) -> Flags:
        return (first[window.rows] >= window.begin) & (first_plain[window.rows] < window.begin)

    def pair(row: int) -> str:
        return f"{log.value(name, row)!r} for {log.value(name, int(np.argmax(plain == plain[row])))!r}"

    limits = partial(_limits, None, REWRITTEN_MARGIN)
    yield Sign(
        name, "is written otherwise than before", rewritten, limits, pair, ids=codes, once=True, needs_history=True
    )

    def seen(window: Window) -> Flags:
        return first[window.rows] <= window.begin

    limits = partial(_limits, SEEN_MARGIN, None)
    shown = partial(_shown, log, name)
    yield Sign(name, "is known from earlier events", seen, limits, shown, ids=codes, once=True, needs_history=True)


def plain_id(text: str) -> str:
    """An id without case, punctuation, leading zeros, and the .0 of a number that was read as a float."""
    whole, point, decimals = text.partition(".")
    text = whole if point and decimals.strip("0") == "" and whole.isdigit() else text
    return "".join(filter(str.isalnum, text.casefold())).lstrip("0")


def _first(log: Events, codes: Codes) -> NDArray[np.float64]:
    """(n,) when the value of each event first occurred, in seconds."""
    first = np.full(codes.max() + 1, np.inf)
    np.minimum.at(first, codes, log.seconds)
    return first[codes]


def _kinds(log: Events) -> Iterator[Sign]:
    """Kinds of events that every past window held and the newest window lacks."""
    codes = log.codes("event")

    def limits(past: Shares, n_newest: int, _alpha: float) -> tuple[float, float]:
        return (0.5 / n_newest if past.min() * n_newest >= MIN_EVENTS else 0.0), 1.0

    for code in np.unique(codes[: log.n_reference]):
        kind = log.value("event", int(np.argmax(codes == code)))
        yield Sign("event", f"is {kind!r}", partial(_is, codes, code), limits, partial(_shown, log, "event"))


def _values(log: Events, column: str, known: Flags, applies: Flags | None, margin: float) -> Sign:
    limits = partial(_limits, margin, margin)
    return Sign(column, "has a value", lambda window: known[window.rows], limits, log.show, applies)


def _carriers(log: Events, known: Flags) -> Flags | None:
    """(n,) events of the kinds that mostly had a value in the reference; None (all events) if no kind had.

    A price that only purchases carry is then judged among purchases, whatever part of the events those are.
    """
    codes = log.codes("event")
    past = slice(0, log.n_reference)
    n, n_known = (np.bincount(codes[past], weights, codes.max() + 1) for weights in (None, known[past]))
    carries = n_known > n / 2
    return carries[codes] if carries.any() else None


def _constant(column: str, codes: Codes, example: Callable[[int], str], is_id: bool) -> Sign:
    """The commonest value of each window has a share that grows towards 1."""

    def hits(window: Window) -> Flags:
        return _is(codes, int(np.bincount(codes[window.rows]).argmax()), window)

    def limits(past: Shares, _n: int, alpha: float) -> tuple[float, float]:
        usual = float(past.mean())
        return 0.0, _highest(past, max(CONSTANT - usual, (1 - GROSS) * (1 - usual)), alpha)

    return Sign(column, "is one and the same", hits, limits, example, codes >= 0, codes if is_id else None)


def _repeated(log: Events) -> Sign:
    """Events equal to an earlier one of their window in all but time and order."""
    codes = log.table.select(ALIKE).to_pandas().groupby(list(ALIKE), sort=False, dropna=False).ngroup().to_numpy()

    def hits(window: Window) -> Flags:
        again = np.ones(window.rows.size, np.bool_)
        again[np.unique(codes[window.rows], return_index=True)[1]] = False
        return again

    return Sign(
        "row", "repeats another but for time and order", hits, partial(_limits, None, REPEATED_MARGIN), log.show
    )


def _is(codes: Codes, code: int, window: Window) -> Flags:
    return np.equal(codes[window.rows], code)


def _shown(log: Events, name: str, row: int) -> str:
    value = log.value(name, row)
    return f"{value:%Y-%m-%d %H:%M:%S}" if name == "timestamp" else repr(value)


def _limits(falls: float | None, rises: float | None, past: Shares, _n: int, alpha: float) -> tuple[float, float]:
    """Lowest and highest share, by the margins or by the spread of past windows, the wider one; None: no limit."""
    low = 0.0 if falls is None else 1 - _highest(1 - past, falls, alpha)
    return low, 1.0 if rises is None else _highest(past, rises, alpha)


def _highest(past: Shares, margin: float, alpha: float) -> float:
    usual = float(past.max()) + FEW_WINDOWS_MARGIN if past.size < FEW_WINDOWS else prediction_limit(past, alpha)
    least = float((1 - past).min())
    gross = 1 - GROSS * least if least >= GROSS_LEAST else np.inf
    return max(float(past.mean()) + margin, min(usual, gross))
