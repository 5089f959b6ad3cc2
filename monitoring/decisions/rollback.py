"""Decides whether to take the champion back. A pure function."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """The champion, the version that served before it, and what was found since.

    earlier: None if no other version served. worse: why the champion's lists are worse than those before its release,
    "" if they are not. drifted: the columns that drifted in the newest window. pinned: a person decided that it serves.
    """

    champion: int
    earlier: int | None
    worse: str
    drifted: Sequence[str] = ()
    pinned: bool = False


@dataclass(frozen=True)
class RollbackDecision:
    """Whether to roll back, and the reason as text."""

    roll_back: bool
    reason: str


def decide_rollback(release: Release) -> RollbackDecision:
    """Roll back if the lists became worse with the release, and nothing else explains it.

    If the market changed at the same time, the version before may be no better: a retraining follows instead.
    """
    if not release.worse:
        return RollbackDecision(False, f"no sign that version {release.champion} is worse than the version before")
    if release.pinned:
        return RollbackDecision(False, f"version {release.champion} is pinned, so a person decides: {release.worse}")
    if release.earlier is None:
        return RollbackDecision(False, f"there is no version before {release.champion}: {release.worse}")
    if release.drifted:
        names = ", ".join(release.drifted)
        return RollbackDecision(False, f"the market changed in the same window ({names}): {release.worse}")
    return RollbackDecision(True, f"version {release.earlier} serves again: {release.worse}")
