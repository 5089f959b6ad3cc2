"""Is the refit, which serves, the recipe that was judged? It is looked at before it is released.

Both models are asked the same: the users of the test window, by what was known of them at its cut. The judged model has
not seen the window, the refit has learned from it, so its lists should be alike and, on this window, no worse.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.criteria import CRITERIA, RESPONSE, SIZE
from recommenders.evaluation.rank import Lists
from recommenders.evaluation.window import Question
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.metrics.ranking import K
from recommenders.models import catalog
from recommenders.models.recommender import Recommender
from recommenders.storage.bundle import size_in_bytes
from serving.release.gate import Finding, GateRules, compare

MOST_USERS = 2000  # that both models are asked about
TIMED = 50  # users asked for one at a time


@dataclass(frozen=True)
class RefitLimits:
    """What a refit may be like.

    overlap: how far the mean share of places that the refit's lists have in common with the judged ones must lie above
    that of lists drawn by chance, from 0 (there) to 1 (the same lists); see decision 12 for the values behind it. Time
    and size are those of the project's success criteria, or `slack` times the judged model's where that is more: a
    catalogue for which the judged model is too slow already is no fault of the refit.
    """

    overlap: float = 0.2
    milliseconds: float = CRITERIA[RESPONSE]
    megabytes: float = CRITERIA[SIZE]
    slack: float = 3.0


@dataclass(frozen=True)
class RefitFigures:
    """What was measured. Figures of the judged model begin with `judged`."""

    users: int
    finite: bool  # all scores
    missing: str  # what of the log the refit does not know, in words
    overlap: float  # mean share of the judged model's places, 0 to 1
    chance: float  # what lists drawn by chance would share
    difference: float  # of mean NDCG@10, refit less judged, on the window that the refit has seen
    low: float  # and its interval
    high: float
    judged_mean: float
    milliseconds: float  # of a list for one user
    judged_milliseconds: float
    megabytes: float
    judged_megabytes: float


def measure(
    folder: Path, judged: Recommender, lists: Lists, megabytes: float, question: Question, log: Interactions
) -> RefitFigures:
    """The refit of a bundle beside the model that was judged. lists: the judged one's for all users of the question.

    log: what the refit should have learned from. Raises BundleError if the bundle does not load.
    """
    refit = catalog.load(folder)
    users = np.unique(np.linspace(0, len(lists) - 1, min(MOST_USERS, len(lists))).astype(np.int64))
    some = question.about(users)
    ranked, finite = _asked(refit, some)
    before, after = some.ndcg(lists[users]), some.ndcg(ranked)
    against = compare(after, before, GateRules())
    return RefitFigures(
        users=len(users),
        finite=finite,
        missing=_missing(refit, log),
        overlap=overlap(lists[users], ranked),
        chance=min(1.0, K / max(1, int(question.case.candidates.sum()))),
        difference=against.difference,
        low=against.low,
        high=against.high,
        judged_mean=float(np.nanmean(before)),
        milliseconds=_milliseconds(refit),
        judged_milliseconds=_milliseconds(judged),
        megabytes=size_in_bytes(folder) / 1e6,
        judged_megabytes=megabytes,
    )


def overlap(left: Lists, right: Lists) -> float:
    """The mean share of each left list's items that stand in the right one too; nan where no list holds an item."""
    common = ((left[:, :, None] == right[:, None, :]) & (left >= 0)[:, :, None]).any(axis=2)
    filled = (left >= 0).sum(axis=1)
    return float((common.sum(axis=1)[filled > 0] / filled[filled > 0]).mean()) if filled.any() else np.nan


def _asked(refit: Recommender, question: Question) -> tuple[Lists, bool]:
    """The refit's lists for a question's users, in columns of the question's log; and whether its scores are finite."""
    case, items = question.case, question.log.items
    column_of = refit.items_.rows(items.ids)  # (n_items,) the refit's column of each of the question's, -1 for none
    candidates = np.zeros(len(refit.items_), np.bool_)
    candidates[column_of[case.candidates & (column_of >= 0)]] = True
    histories = _renamed(case.histories, column_of, len(refit.items_))
    exclude_known = case.views()["all"].exclude_known
    ranked = refit.recommend(refit.users_.rows(case.user_ids), histories, K, candidates, exclude_known)
    back = np.append(items.rows(refit.items_.ids), -1)  # the last is that of no item
    finite = bool(np.isfinite(ranked.scores[ranked.item_columns >= 0]).all())
    return back[ranked.item_columns].astype(np.int32), finite


def _renamed(histories: Histories, column_of: NDArray[np.int32], n_items: int) -> Histories:
    """The same events in other columns; those of unknown items are left out."""
    known = histories.select(column_of[histories.item_columns] >= 0)
    return replace(known, item_columns=column_of[known.item_columns], n_items=n_items)


def _missing(refit: Recommender, log: Interactions) -> str:
    """What of the log the refit does not know."""
    gone = {
        "users": len(np.setdiff1d(log.users.ids, refit.users_.ids)),
        "items": len(np.setdiff1d(log.items.ids, refit.items_.ids)),
        "events": len(log) - int(refit.histories_.counts.sum()),
    }
    return ", ".join(f"{n} {what}" for what, n in gone.items() if n)


def _milliseconds(model: Recommender) -> float:
    """What a list for one known user takes, a quick tenth of them: a busy machine makes some slow."""
    times = []
    for row in np.unique(np.linspace(0, len(model.users_) - 1, TIMED).astype(np.int32)):
        asked = np.array([row], np.int32)
        started = time.perf_counter()
        model.recommend(asked, model.histories_[asked], K)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.quantile(times, 0.1))


def findings(figures: RefitFigures, limits: RefitLimits | None = None, rules: GateRules | None = None) -> list[Finding]:
    """What the figures say of the refit, one finding a limit."""
    limits, rules = limits or RefitLimits(), rules or GateRules()
    loss = rules.margin * figures.judged_mean
    least = figures.chance + limits.overlap * (1 - figures.chance)
    most_ms = max(limits.milliseconds, limits.slack * figures.judged_milliseconds)
    most_mb = max(limits.megabytes, limits.slack * figures.judged_megabytes)
    seen = f"{figures.difference:+.4f} [{figures.low:+.4f}, {figures.high:+.4f}]"
    return [
        Finding(figures.finite, f"the refit's scores are {'all' if figures.finite else 'not all'} finite"),
        Finding(not figures.missing, f"the refit knows all of the log{figures.missing and ' but ' + figures.missing}"),
        Finding(
            figures.overlap >= least,
            f"the refit shares {figures.overlap:.0%} of the judged model's places over {figures.users} users; "
            f"least: {least:.0%}",
        ),
        Finding(
            figures.high >= -loss,
            f"NDCG@10 of the refit less the judged model's on the window it has learned from: {seen}; "
            f"the high end must reach {-loss:+.4f}",
        ),
        Finding(
            figures.milliseconds <= most_ms,
            f"a list takes the refit {figures.milliseconds:.1f} ms; most: {most_ms:.0f}",
        ),
        Finding(
            figures.megabytes <= most_mb, f"the refit's bundle has {figures.megabytes:.1f} MB; most: {most_mb:.0f}"
        ),
    ]


def to_record(figures: RefitFigures, found: list[Finding]) -> dict[str, Any]:
    """Figures and findings, ready for JSON."""
    plain = {name: None if value != value else value for name, value in asdict(figures).items()}
    return {"figures": plain, "findings": [asdict(one) for one in found]}


def of_record(record: Mapping[str, Any]) -> list[Finding]:
    """The findings of a record."""
    return [Finding(**one) for one in record.get("findings", [])]
