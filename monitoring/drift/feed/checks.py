"""The checks for a broken feed: each measures the share of events with a property; a healthy feed keeps it stable."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.drift.columns import UNIT_FACTOR, usual_values
from monitoring.drift.feed.events import Codes, Events, Flags
from monitoring.drift.feed.shares import LARGE_DROP, MIN_EVENTS, FeedCheck, Shares, share_limits, upper_limit
from monitoring.drift.windows import Window

VALUES = ("order_id", "quantity", "unit_price", "rating")  # not columns that are filled later, such as returns
ATTRIBUTES = {
    "item": ("title", "category", "subcategory", "brand", "price", "text"),
    "user": ("segment", "industry", "region", "annual_revenue", "credit_limit"),
}
DUPLICATE_KEY = ("user_id", "item_id", "event", "quantity", "unit_price", "rating")  # equal in duplicate rows

# A share that changed by less than its margin is no problem, even if the past shares were constant.
VALUE_MARGIN = 0.05
ATTRIBUTE_MARGIN = 0.2  # attributes of new items and users are often filled later
KNOWN_ID_MARGIN = 0.3  # the numbers of items and users grow
REFORMATTED_MARGIN = 0.05
DUPLICATE_MARGIN = 0.2
UNIT_MARGIN = {"unit_price": 0.05, "quantity": 0.1}  # quantities of one item differ more than its prices
HOUR_MARGIN = 0.05
QUIET_HOUR = 0.02  # share of past events; an hour is quiet if it and its neighbours have less (summer time moves one)
CONSTANT = 0.9  # a value with a lower share is not a constant; for example a user with very many events


def build_checks(log: Events, items: pa.Table, users: pa.Table | None, earlier_items: pa.Table) -> list[FeedCheck]:
    """Every check for the log; of one column the most informative first.

    items: the catalogue, every state. earlier_items: the catalogue as it was read before; its values also count for
    past events.
    """
    checks = [*_id_checks(log, "item_id"), *_id_checks(log, "user_id"), *_event_checks(log)]
    checks += [
        _value_check(log, name, log.has_value(name), _events_with_values(log, log.has_value(name)), VALUE_MARGIN)
        for name in VALUES
    ]
    past = np.arange(log.seconds.size) < log.n_reference
    earlier, current = (log.has_attributes(table, "item_id", ATTRIBUTES["item"]) for table in (earlier_items, items))
    has_attributes = {f"the item's {name}": current[name] | (earlier[name] & past) for name in current}
    if users is not None:
        user_attributes = log.has_attributes(users, "user_id", ATTRIBUTES["user"])
        has_attributes |= {f"the user's {name}": has_value for name, has_value in user_attributes.items()}
    checks += [_value_check(log, name, has_value, None, ATTRIBUTE_MARGIN) for name, has_value in has_attributes.items()]
    for name in ("item_id", "user_id", "timestamp", "quantity", "unit_price", "rating"):
        is_id = name.endswith("_id")
        checks.append(_constant_check(name, log.codes(name), partial(_show_value, log, name), is_id))
    time_of_day = np.unique(log.seconds % 86_400, return_inverse=True)[1]
    checks.append(_constant_check("time of day", time_of_day, partial(_show_value, log, "timestamp"), is_id=False))
    checks += [_unit_check(log, name) for name in UNIT_MARGIN]
    return [*checks, _clock_check(log), _duplicate_check(log)]


def _id_checks(log: Events, name: str) -> Iterator[FeedCheck]:
    """Ids in another format than before, and ids that occur in no earlier event."""
    codes, values = log.factorized(name)
    normalised_values = pd.factorize(np.array([normalise_id(value) for value in values]))[0]
    normalised = normalised_values[codes]
    first, first_normalised = _first(log, codes), _first(log, normalised)

    def is_reformatted(window: Window) -> Flags:
        return (first[window.rows] >= window.start) & (first_normalised[window.rows] < window.start)

    def show_pair(row: int) -> str:
        return f"{log.value(name, row)!r} instead of {log.value(name, int(np.argmax(normalised == normalised[row])))!r}"

    limits = partial(share_limits, None, REFORMATTED_MARGIN)
    yield FeedCheck(
        name, "has a new format", is_reformatted, limits, show_pair, ids=codes, once_per_id=True, needs_history=True
    )

    def is_known(window: Window) -> Flags:
        return first[window.rows] <= window.start

    limits = partial(share_limits, KNOWN_ID_MARGIN, None)
    show_value = partial(_show_value, log, name)
    yield FeedCheck(
        name,
        "is known from earlier events",
        is_known,
        limits,
        show_value,
        ids=codes,
        once_per_id=True,
        needs_history=True,
    )


def normalise_id(text: str) -> str:
    """An id without case, punctuation, leading zeros, and the .0 of a number that was read as a float."""
    whole, point, decimals = text.partition(".")
    text = whole if point and decimals.strip("0") == "" and whole.isdigit() else text
    return "".join(filter(str.isalnum, text.casefold())).lstrip("0")


def _first(log: Events, codes: Codes) -> NDArray[np.float64]:
    """(n,) time at which the value of each event first occurred, in seconds."""
    first = np.full(codes.max() + 1, np.inf)
    np.minimum.at(first, codes, log.seconds)
    return first[codes]


def _event_checks(log: Events) -> Iterator[FeedCheck]:
    """Event types that occur in every past window but not in the newest window."""
    codes = log.codes("event")

    def limits(past: Shares, n_newest: int, _alpha: float) -> tuple[float, float]:
        return (0.5 / n_newest if past.min() * n_newest >= MIN_EVENTS else 0.0), 1.0

    for code in np.unique(codes[: log.n_reference]):
        event = log.value("event", int(np.argmax(codes == code)))
        yield FeedCheck(
            "event", f"is {event!r}", partial(_equals, codes, code), limits, partial(_show_value, log, "event")
        )


def _value_check(log: Events, column: str, has_value: Flags, counted: Flags | None, margin: float) -> FeedCheck:
    limits = partial(share_limits, margin, margin)
    return FeedCheck(column, "has a value", lambda window: has_value[window.rows], limits, log.describe_event, counted)


def _events_with_values(log: Events, has_value: Flags) -> Flags | None:
    """(n,) events of the types that mostly had a value in the reference; None (all events) if no type had.

    So a price that only purchases have is checked among purchases, even if they are a small part of the events.
    """
    codes = log.codes("event")
    past = slice(0, log.n_reference)
    n, n_known = (np.bincount(codes[past], weights, codes.max() + 1) for weights in (None, has_value[past]))
    has_mostly_values = n_known > n / 2
    return has_mostly_values[codes] if has_mostly_values.any() else None


def _constant_check(column: str, codes: Codes, example: Callable[[int], str], is_id: bool) -> FeedCheck:
    """The share of the most common value of each window; it is a problem near 1."""

    def has_property(window: Window) -> Flags:
        return _equals(codes, int(np.bincount(codes[window.rows]).argmax()), window)

    def limits(past: Shares, _n: int, alpha: float) -> tuple[float, float]:
        typical = float(past.mean())
        return 0.0, upper_limit(past, max(CONSTANT - typical, (1 - LARGE_DROP) * (1 - typical)), alpha)

    return FeedCheck(
        column, "has its most common value", has_property, limits, example, codes >= 0, codes if is_id else None
    )


def _unit_check(log: Events, name: str) -> FeedCheck:
    """Values that are UNIT_FACTOR times the usual value of their item or more, or that small a part of it."""
    values = np.asarray(log.table[name].to_numpy(), np.float64)
    logarithms = np.log(values, out=np.full(values.size, np.nan), where=values > 0)
    usual = usual_values(logarithms, log.codes("item_id"), log.n_reference)
    is_far = np.abs(logarithms - usual) >= np.log(UNIT_FACTOR)
    return FeedCheck(
        name,
        f"is {UNIT_FACTOR:g} times as large or as small as usual for the item",
        lambda window: is_far[window.rows],
        partial(share_limits, None, UNIT_MARGIN[name]),
        lambda row: f"{log.value(name, row):g} for item {log.value('item_id', row)!r}",
        ~np.isnan(logarithms - usual),
    )


def _clock_check(log: Events) -> FeedCheck:
    """Events in the hours of the day that had hardly any event before."""
    hour = (log.seconds // 3600 % 24).astype(np.int64)
    share = np.bincount(hour[: log.n_reference], minlength=24) / log.n_reference
    is_quiet = np.max([np.roll(share, shift) for shift in (-1, 0, 1)], axis=0) < QUIET_HOUR
    return FeedCheck(
        "time of day",
        "is in an hour that had hardly any events",
        lambda window: is_quiet[hour[window.rows]],
        partial(share_limits, None, HOUR_MARGIN),
        partial(_show_value, log, "timestamp"),
    )


def _duplicate_check(log: Events) -> FeedCheck:
    """Events equal to an earlier one of their window in everything except time and order."""
    codes = (
        log.table.select(DUPLICATE_KEY)
        .to_pandas()
        .groupby(list(DUPLICATE_KEY), sort=False, dropna=False)
        .ngroup()
        .to_numpy()
    )

    def has_property(window: Window) -> Flags:
        is_duplicate = np.ones(window.rows.size, np.bool_)
        is_duplicate[np.unique(codes[window.rows], return_index=True)[1]] = False
        return is_duplicate

    return FeedCheck(
        "row",
        "is a duplicate of another row except for time and order",
        has_property,
        partial(share_limits, None, DUPLICATE_MARGIN),
        log.describe_event,
    )


def _equals(codes: Codes, code: int, window: Window) -> Flags:
    return np.equal(codes[window.rows], code)


def _show_value(log: Events, name: str, row: int) -> str:
    value = log.value(name, row)
    return f"{value:%Y-%m-%d %H:%M:%S}" if name == "timestamp" else repr(value)
