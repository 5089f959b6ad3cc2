"""When to train again. Pure: a drift that lasts must not start one training after another.

Each training moves the reference, so a key that held it alone would always be new, and one that lacked it
would repeat. It holds cause, window and reference, and a cool-down follows every training.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class Facts:
    """What monitoring found. cause: "drift", "quality" ...; reference_version: the version that serves.

    broken: what looks broken in the data, "" if nothing.
    """

    fired: bool
    cause: str
    window_end: datetime
    reference_version: str
    summary: str = ""
    broken: str = ""


@dataclass(frozen=True)
class PastRun:
    """A training that was asked for: its key, when (UTC), and whether it failed."""

    key: str
    started: datetime
    failed: bool = False


@dataclass(frozen=True)
class Decision:
    """Whether to train, under which run key, and why (not), for a person."""

    retrain: bool
    key: str
    reason: str


def retrain_key(cause: str, window_end: datetime, reference_version: str) -> str:
    """Names one reason to train: the same cause, window and reference always give the same key."""
    end = window_end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{_word(cause)}:{end}:{_word(reference_version)}"


def should_retrain(facts: Facts, last_runs: Sequence[PastRun], cool_down: timedelta, now: datetime) -> Decision:
    """Train if the facts fired, the feed is whole, this key was never tried, and the last training lies cool_down back.

    A model that is trained on a broken feed learns the fault. Times need a time zone. A failed run counts too: what
    failed for a window fails again, so it waits for the cool-down and for a new window.
    """
    key = retrain_key(facts.cause, facts.window_end, facts.reference_version)
    if not facts.fired:
        return Decision(False, key, f"no {facts.cause}")
    if facts.broken:
        return Decision(False, key, f"no retraining on a broken feed; mend the source first: {facts.broken}")
    if any(run.key == key for run in last_runs):
        return Decision(False, key, f"already asked for: {key}")
    if last_runs:
        last = max(last_runs, key=lambda run: run.started)
        ready = last.started + cool_down
        if now < ready:
            state = "failed" if last.failed else "was started"
            return Decision(False, key, f"cooling down until {ready:%Y-%m-%d %H:%M}: {last.key} {state} before")
    return Decision(True, key, facts.summary or f"{facts.cause} up to {facts.window_end:%Y-%m-%d %H:%M}")


def _word(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)
