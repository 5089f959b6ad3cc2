"""Refits the model to release, and checks that it behaves like the model that was evaluated.

Input: both models and the users of the test window, with their histories at its start. The evaluated model was not
trained on the window and the refitted model was. So their lists should be alike, and the refitted model should not be
worse on this window. Output: figures, and one gate check for each limit.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.criteria import CRITERIA, RESPONSE, SIZE
from recommenders.evaluation.rank import Lists
from recommenders.evaluation.window_task import WindowTask
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import K
from recommenders.models import all_models
from recommenders.models.calibration import Calibration
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender, TrainingOptions
from recommenders.storage.bundle import size_in_bytes
from recommenders.training.segments import fit_segments
from recommenders.training.window_calibration import calibrate
from serving.release.gate import GateCheck, GateRules, compare

if TYPE_CHECKING:
    import pyarrow as pa

MAX_USERS = 2000  # whose lists are compared
N_TIMED_USERS = 50  # whose lists are made one at a time


@dataclass(frozen=True)
class RefitLimits:
    """The limits of a refitted model.

    overlap: how far the mean share of items that the lists of both models have in common must lie above that of random
    lists, from 0 (as random lists) to 1 (the same lists); see decision 12 for the values behind it. Time and size are
    those of the project's success criteria, or `slack` times the evaluated model's where that is more: if the evaluated
    model is already too slow for a catalogue, this is no fault of the refit.
    """

    overlap: float = 0.2
    milliseconds: float = CRITERIA[RESPONSE]
    megabytes: float = CRITERIA[SIZE]
    slack: float = 3.0


@dataclass(frozen=True)
class RefitFigures:
    """What was measured. The figures of the evaluated model begin with `evaluated`."""

    users: int
    finite: bool  # all scores
    missing: str  # what of the log the refitted model lacks, as text
    overlap: float  # mean share of the evaluated model's items, 0 to 1
    random_overlap: float  # the same share for random lists
    difference: float  # of mean NDCG@10, refitted minus evaluated, on the window that the refitted model was trained on
    low: float  # and its interval
    high: float
    evaluated_mean: float
    milliseconds: float  # of a list for one user
    evaluated_milliseconds: float
    megabytes: float
    evaluated_megabytes: float


def refit_candidate(
    name: str,
    models: Mapping[str, Recommender],
    log: Interactions,
    features: ItemFeatures | None,
    options: TrainingOptions,
) -> Recommender:
    """A model refitted on a log, with the evaluated popularity for the users that it cannot rank for.

    It is calibrated on the newest window of the log, unless the evaluated model has a calibration, which it keeps.
    """
    model = models[name].refit(log, features, options)
    if not model.base_models_ and name != Popularity.name:
        model.base_models_ = {Popularity.name: models[Popularity.name].refit(log, features, options)}
    if model.calibration_ is None:
        popularity = models[Popularity.name]
        assert isinstance(popularity, Popularity)
        model.calibration_ = calibrate(model, popularity, log, features, options)
    return model


def add_segments(model: Recommender, log: Interactions, users: "pa.Table") -> str:
    """Adds the lists for users without a history by their attributes, if they are not worse; returns the reason.

    model: what refit_candidate() returned for the log. users: in schema.USERS. If the model is calibrated, the curves
    of lists without a history become those of users who were new.
    """
    popularity = model if isinstance(model, Popularity) else model.base_models_[Popularity.name]
    assert isinstance(popularity, Popularity)
    fitted = fit_segments(popularity, log, users)
    popularity.segments_ = fitted.segments
    if model.calibration_ and fitted.calibration:
        model.calibration_ = Calibration({**model.calibration_.curves, **fitted.calibration.curves})
    return fitted.reason


def measure(
    folder: Path, evaluated: Recommender, lists: Lists, megabytes: float, window: WindowTask, log: Interactions
) -> RefitFigures:
    """Compares the refitted model of a bundle with the evaluated model.

    lists: of the evaluated model for all users of the window. megabytes: size of the evaluated model's bundle with its
    context. log: the log that the refitted model should have been trained on. Raises BundleError if the bundle does not
    load.
    """
    refit = all_models.load(folder)
    users = np.unique(np.linspace(0, len(lists) - 1, min(MAX_USERS, len(lists))).astype(np.int64))
    some = window.for_users(users)
    ranked, finite = _rank(refit, some)
    before, after = some.ndcg(lists[users]), some.ndcg(ranked)
    versus = compare(after, before, GateRules())
    return RefitFigures(
        users=len(users),
        finite=finite,
        missing=_missing(refit, log),
        overlap=overlap(lists[users], ranked),
        random_overlap=min(1.0, K / max(1, int(window.task.candidates.sum()))),
        difference=versus.difference,
        low=versus.low,
        high=versus.high,
        evaluated_mean=float(np.nanmean(before)),
        milliseconds=_milliseconds(refit),
        evaluated_milliseconds=_milliseconds(evaluated),
        megabytes=size_in_bytes(folder) / 1e6,
        evaluated_megabytes=megabytes,
    )


def overlap(left: Lists, right: Lists) -> float:
    """The mean share of each left list's items that are also in the right list; nan if no list holds an item."""
    common = ((left[:, :, None] == right[:, None, :]) & (left >= 0)[:, :, None]).any(axis=2)
    filled = (left >= 0).sum(axis=1)
    return float((common.sum(axis=1)[filled > 0] / filled[filled > 0]).mean()) if filled.any() else np.nan


def _rank(refit: Recommender, window: WindowTask) -> tuple[Lists, bool]:
    """The refitted model's lists for a window's users, in item columns of the window's log.

    Also whether all scores are finite.
    """
    task, items = window.task, window.log.items
    column_of = refit.items_.rows(items.ids)  # (n_items,) the refit's column of each of the window's items, -1 for none
    candidates = np.zeros(len(refit.items_), np.bool_)
    candidates[column_of[task.candidates & (column_of >= 0)]] = True
    histories = _remap_items(task.histories, column_of, len(refit.items_))
    exclude_known = task.views()["all"].exclude_known
    ranked = refit.recommend(refit.users_.rows(task.user_ids), histories, K, candidates, exclude_known)
    back = np.append(items.rows(refit.items_.ids), -1)  # the last is for "no item"
    finite = bool(np.isfinite(ranked.scores[ranked.item_columns >= 0]).all())
    return back[ranked.item_columns].astype(np.int32), finite


def _remap_items(histories: Histories, column_of: NDArray[np.int32], n_items: int) -> Histories:
    """The same events with other item columns; events of unknown items are left out."""
    known = histories.select(column_of[histories.item_columns] >= 0)
    return replace(known, item_columns=column_of[known.item_columns], n_items=n_items)


def _missing(refit: Recommender, log: Interactions) -> str:
    """Which users, items and events of the log the refitted model lacks, as text."""
    missing = {
        "users": len(np.setdiff1d(log.users.ids, refit.users_.ids)),
        "items": len(np.setdiff1d(log.items.ids, refit.items_.ids)),
        "events": len(log) - int(refit.histories_.counts.sum()),
    }
    return ", ".join(f"{n} {what}" for what, n in missing.items() if n)


def _milliseconds(model: Recommender) -> float:
    """The time of a list for one known user: the 10 % quantile, because a busy machine makes some lists slow."""
    times = []
    for row in np.unique(np.linspace(0, len(model.users_) - 1, N_TIMED_USERS).astype(np.int32)):
        user_rows = np.array([row], np.int32)
        started = time.perf_counter()
        model.recommend(user_rows, model.histories_[user_rows], K)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.quantile(times, 0.1))


def refit_checks(
    figures: RefitFigures, limits: RefitLimits | None = None, rules: GateRules | None = None
) -> list[GateCheck]:
    """The checks of the refitted model, one for each limit."""
    limits, rules = limits or RefitLimits(), rules or GateRules()
    loss = rules.margin * figures.evaluated_mean
    least = figures.random_overlap + limits.overlap * (1 - figures.random_overlap)
    most_ms = max(limits.milliseconds, limits.slack * figures.evaluated_milliseconds)
    most_mb = max(limits.megabytes, limits.slack * figures.evaluated_megabytes)
    interval = f"{figures.difference:+.4f} [{figures.low:+.4f}, {figures.high:+.4f}]"
    return [
        GateCheck(figures.finite, f"{'all' if figures.finite else 'not all'} scores of the refitted model are finite"),
        GateCheck(
            not figures.missing,
            f"the refitted model {'lacks ' + figures.missing + ' of' if figures.missing else 'covers'} the whole log",
        ),
        GateCheck(
            figures.overlap >= least,
            f"the refitted model's lists hold {figures.overlap:.0%} of the evaluated model's items, over "
            f"{figures.users} users; at least {least:.0%} is needed",
        ),
        GateCheck(
            figures.high >= -loss,
            "the NDCG@10 of the refitted model minus that of the evaluated model is "
            f"{interval} on the window that the refit was trained on; the upper bound must be at least {-loss:+.4f}",
        ),
        GateCheck(
            figures.milliseconds <= most_ms,
            f"the refitted model makes a list in {figures.milliseconds:.1f} ms; at most {most_ms:.0f} ms is allowed",
        ),
        GateCheck(
            figures.megabytes <= most_mb,
            f"the bundle of the refitted model has {figures.megabytes:.1f} MB; at most {most_mb:.0f} MB is allowed",
        ),
    ]


def to_record(figures: RefitFigures, checks: list[GateCheck]) -> dict[str, Any]:
    """Figures and checks, ready for JSON."""
    plain = {name: None if value != value else value for name, value in asdict(figures).items()}
    return {"figures": plain, "findings": [asdict(check) for check in checks]}
