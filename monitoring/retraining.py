"""Decides when to retrain. Pure functions: a lasting drift must not start one training after another.

Each training changes the reference version. A run key with only the reference would always be new, and a key without it
would repeat. So the key contains cause, window and reference, and a cool-down follows every training.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LASTING = 2  # windows of the newest three


@dataclass(frozen=True)
class MonitoringResult:
    """The result of monitoring. cause: "drift", "quality" ...; reference_version: the version in service.

    feed_problems: the problems of a broken feed as text, "" if there are none.
    """

    fired: bool
    cause: str
    window_end: datetime
    reference_version: str
    summary: str = ""
    feed_problems: str = ""


@dataclass(frozen=True)
class PastRun:
    """A requested training: its key, its start (UTC), and whether it failed."""

    key: str
    started: datetime
    failed: bool = False


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, the run key, and the reason as text."""

    retrain: bool
    key: str
    reason: str


def retrain_key(cause: str, window_end: datetime, reference_version: str) -> str:
    """The run key of a training: the same cause, window and reference always give the same key."""
    end = window_end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{_slug(cause)}:{end}:{_slug(reference_version)}"


def lasting(recent: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The causes that were found in LASTING or more of the newest windows (DriftReport.recent), most frequent first.

    A change that is found in one window only may be chance: an alarm is enough to look at it, not to retrain.
    """
    counts = Counter(cause for window in recent for cause in set(window))
    return tuple(cause for cause, n in counts.most_common() if n >= LASTING)


def should_retrain(
    result: MonitoringResult, past_runs: Sequence[PastRun], cool_down: timedelta, now: datetime
) -> Decision:
    """Retrain if the result fired, the feed is not broken, the key is new, and the last training is cool_down ago.

    A model that is trained on a broken feed learns its errors. Times need a time zone. A failed run counts too: it will
    probably fail again for the same window, so it waits for the cool-down and for a new window.
    """
    key = retrain_key(result.cause, result.window_end, result.reference_version)
    if not result.fired:
        return Decision(False, key, f"no {result.cause}")
    if result.feed_problems:
        return Decision(False, key, f"no retraining on a broken feed; repair the source first: {result.feed_problems}")
    if any(run.key == key for run in past_runs):
        return Decision(False, key, f"already requested: {key}")
    if past_runs:
        last = max(past_runs, key=lambda run: run.started)
        ready = last.started + cool_down
        if now < ready:
            state = "failed" if last.failed else "was started"
            return Decision(
                False, key, f"cool-down until {ready:%Y-%m-%d %H:%M}: the last retraining {last.key} {state}"
            )
    return Decision(True, key, result.summary or f"{result.cause} up to {result.window_end:%Y-%m-%d %H:%M}")


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)
