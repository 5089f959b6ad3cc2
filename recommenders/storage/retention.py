"""What stores hold, and which of it goes under a limit. The stores themselves list and delete their things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Stored:
    """One thing in a store.

    at: the time that its age counts from, UTC. unfinished: a process was killed while it deleted the thing.
    """

    name: str
    at: datetime
    bytes: int = 0
    unfinished: bool = False


@dataclass(frozen=True)
class Limit:
    """How much a store keeps; None: no limit.

    newest: number of things. days: age. max_bytes: size of each thing.
    """

    newest: int | None = None
    days: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Pruned:
    """A thing that goes, and why."""

    stored: Stored
    reason: str


def what_to_prune(found: Sequence[Stored], protected: Mapping[str, str], limit: Limit, now: datetime) -> list[Pruned]:
    """What goes, the oldest first. Nothing protected goes, whatever the limit.

    protected: name -> why it stays. Things that are protected count for `newest` too: if there are more of them than
    the limit, only they stay.
    """
    free = sorted((one for one in found if one.name not in protected), key=lambda one: (one.at, one.name))
    reasons = {one.name: reason for one in free if (reason := _over_limit(one, limit, now))}
    if limit.newest is not None:
        room = max(0, limit.newest - sum(one.name in protected for one in found))
        others = [one for one in free if one.name not in reasons]
        for one in others[: max(0, len(others) - room)]:
            reasons[one.name] = f"more than {limit.newest} are stored, and newer ones stay"
    return [Pruned(one, reasons[one.name]) for one in free if one.name in reasons]


def _over_limit(one: Stored, limit: Limit, now: datetime) -> str:
    """Why the thing goes, whatever else is stored; empty if it may stay."""
    if one.unfinished:
        return "it was deleted in part before"
    if limit.days is not None and one.at < now - timedelta(days=limit.days):
        return f"older than {limit.days} days"
    if limit.max_bytes is not None and one.bytes > limit.max_bytes:
        return f"larger than {limit.max_bytes / 1e6:.0f} MB"
    return ""
