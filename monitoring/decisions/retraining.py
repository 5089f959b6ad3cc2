"""Decides when to retrain. Pure functions: a lasting drift must not start one training after another.

Each training changes the reference version. A run key with only the reference would always be new, and a key without it
would repeat. So the key contains cause, window and reference, and a cool-down follows every training.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Cause = Literal["drift", "quality", "follow-up", "age"]
OF_A_CHANGE = ("drift", "quality")  # causes that are a change of the market

LASTING = 2  # windows of the newest three
MAX_ATTEMPTS = 3  # of a training with one key
FOLLOW_UPS = (1, 3)  # windows after a retraining for a change: the model then knows two, and four times as much of it
FIRST_WAIT = timedelta(minutes=10)  # after a failed attempt; twice as long after each further one


@dataclass(frozen=True)
class Signs:
    """What monitoring found, and what the champion was trained on.

    window_end: of the newest window, None if nothing was compared. recent: the columns that drifted in each of the
    newest windows, the newest last (DriftReport.recent), without those of `expected`, whose drift a person expected.
    n_new: how many of these windows, from the newest on, the
    champion was not trained on; a column that drifted in an older one is known to it. summary: the newest window as
    text. quality: why the quality of the served lists fell, "" if it did not. feed_problems: the faults of a broken
    feed, "" if there are none. window: the length of a window, None if nothing was compared.
    reference_version: the champion. is_known: it was trained on this data. age, max_age: time between the newest event
    and the last one that it was trained on, and the longest that is allowed; None: not known, or no limit.
    """

    window_end: datetime | None
    reference_version: str
    recent: Sequence[Sequence[str]] = ()
    n_new: int | None = None  # None: all
    summary: str = ""
    quality: str = ""
    feed_problems: str = ""
    is_known: bool = False
    age: timedelta | None = None
    max_age: timedelta | None = None
    expected: Sequence[str] = ()
    window: timedelta | None = None


@dataclass(frozen=True)
class PastRun:
    """A requested training: its key, its start (UTC), and whether it failed."""

    key: str
    started: datetime
    failed: bool = False

    @property
    def cause(self) -> str:
        """Why it was requested."""
        return self.key.partition(":")[0]


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, the cause, the run key, and the reason as text. Without a cause, cause and key are empty."""

    retrain: bool
    reason: str
    cause: str = ""
    key: str = ""


def decide(signs: Signs, past_runs: Sequence[PastRun], cool_down: timedelta, now: datetime) -> Decision:
    """Retrain if there is a cause, the feed is not broken, the key is new, and the last training is cool_down ago.

    A model that is trained on a broken feed learns its errors. A failed training is tried again, MAX_ATTEMPTS times in
    all, with longer and longer waits. Times need a time zone.
    """
    if signs.window_end is None:
        return Decision(False, signs.summary or "nothing was compared yet")
    if signs.feed_problems:
        return Decision(False, f"no retraining on a broken feed; repair the source first: {signs.feed_problems}")
    cause, why = cause_to_retrain(signs)
    if cause is None and (due := follow_up(signs, past_runs)):
        cause, why = "follow-up", due
    if cause is None:
        return Decision(False, why)
    if signs.is_known:
        return Decision(False, f"{signs.reference_version} is trained on this data already", cause)
    key = retrain_key(cause, signs.window_end, signs.reference_version)
    attempts = [run for run in past_runs if run.key.partition("/")[0] == key]
    if attempts:
        return _again(key, cause, why, attempts, now)
    if past_runs:
        last = max(past_runs, key=lambda run: run.started)
        ready = last.started + cool_down
        if now < ready:
            reason = f"cool-down until {ready:%Y-%m-%d %H:%M}: the last retraining {last.key} {_state(last)}"
            return Decision(False, reason, cause, key)
    return Decision(True, why, cause, key)


def cause_to_retrain(signs: Signs) -> tuple[Cause | None, str]:
    """The cause and its reason; without one, None and why not.

    A change that is found in one window only may be chance: an alarm is enough to look at it, not to retrain.
    """
    unknown = unknown_drift(signs.recent, signs.n_new)
    lasted, newest = lasting(unknown), unknown[-1] if unknown else ()
    if lasted:
        return "drift", f"{', '.join(lasted)} drifted in {LASTING} or more of the newest windows: {signs.summary}"
    if newest and signs.quality:
        return "drift", f"{', '.join(newest)} drifted in the newest window, and the quality fell: {signs.quality}"
    if signs.quality:
        return "quality", signs.quality
    if signs.age is not None and signs.max_age is not None and signs.age > signs.max_age:
        return "age", f"the newest data is {signs.age.days} days newer than the model's; allowed: {signs.max_age.days}"
    if newest:
        return None, f"{', '.join(newest)} drifted in the newest window only; a second window has to confirm it"
    if signs.expected:
        return None, f"no drift but that which a person expected ({', '.join(signs.expected)}), no fall of the quality"
    return None, "no drift, no fall of the quality"


def follow_up(signs: Signs, past_runs: Sequence[PastRun]) -> str:
    """Why a retraining for a change is due to be followed by another one; "" if it is not.

    The first one comes as soon as the change is sure, so it is trained on little that happened after the change. It is
    followed when the newest event is FOLLOW_UPS windows later.
    """
    done = [run for run in past_runs if not run.failed]
    change = max((run for run in done if run.cause in OF_A_CHANGE), key=lambda run: run.started, default=None)
    if change is None or signs.window is None or signs.window_end is None:
        return ""
    n_followed = sum(run.cause == "follow-up" and run.started > change.started for run in done)
    if n_followed == len(FOLLOW_UPS) or signs.window_end < change.started + FOLLOW_UPS[n_followed] * signs.window:
        return ""
    days = (signs.window_end - change.started) / timedelta(days=1)
    return f"{change.key} was trained on little after the change; there are {days:.0f} days more by now"


def unknown_drift(recent: Sequence[Sequence[str]], n_new: int | None) -> list[tuple[str, ...]]:
    """The columns that drifted in each of the new windows, without those that drifted in the window before them.

    The market that the champion was trained on stays far from older windows for a while. That is no cause for another
    training.
    """
    first = len(recent) - (len(recent) if n_new is None else min(n_new, len(recent)))
    known = set(recent[first - 1]) if first else set()
    return [tuple(column for column in window if column not in known) for window in recent[first:]]


def lasting(recent: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The columns that drifted in LASTING or more of the newest windows, most frequent first."""
    counts = Counter(column for window in recent for column in set(window))
    return tuple(column for column, n in counts.most_common() if n >= LASTING)


def retrain_key(cause: str, window_end: datetime, reference_version: str) -> str:
    """The run key of a training: the same cause, window and reference always give the same key."""
    end = window_end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{_slug(cause)}:{end}:{_slug(reference_version)}"


def _again(key: str, cause: str, why: str, attempts: Sequence[PastRun], now: datetime) -> Decision:
    """Whether a training that was requested before is tried once more."""
    last = max(attempts, key=lambda run: run.started)
    if not last.failed:
        return Decision(False, f"already requested: {last.key}", cause, key)
    if len(attempts) >= MAX_ATTEMPTS:
        return Decision(False, f"{key} failed {len(attempts)} times and is not tried again", cause, key)
    ready = last.started + FIRST_WAIT * 2 ** (len(attempts) - 1)
    if now < ready:
        return Decision(False, f"{last.key} failed; it is tried again at {ready:%Y-%m-%d %H:%M}", cause, key)
    n = len(attempts) + 1
    return Decision(True, f"attempt {n} of {MAX_ATTEMPTS}: {why}", cause, f"{key}/{n}")


def _state(run: PastRun) -> str:
    return "failed" if run.failed else "was started"


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)
