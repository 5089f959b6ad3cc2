"""Makes the rows of benchmarks/accuracy.py from lists: means, paired differences, spreads, Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from measuring import result_table
from measuring.accuracy.entrant_lists import Lists
from measuring.benchmark_tasks import COLD_ITEMS, LATER_VISITS, BenchmarkTask
from recommenders.evaluation.statistics.comparison import Interval, compare_all, holm, mean_interval, resampled_means
from recommenders.metrics import ranking
from recommenders.models.all_models import ENSEMBLES

FLAGSHIP = "hybrid_learned"
RESAMPLES = 10_000  # for p-values: Holm's correction needs small ones
LEVEL = 0.05
SMALL_LEAD = 0.01  # of NDCG@10; the spread over seeds and tie orders is printed for smaller leads
Vector = NDArray[np.float64]  # one value per user

# (data set, view) -> (floor, goal) of the flagship's NDCG@10, or of its share of the oracle's; on the test window
BOUNDS = {("online_retail", "all"): (0.38, 0.40), ("online_retail", "discovery"): (0.132, 0.145)}
SHARES = {("custom_b2b", "all"): (0.85, 0.95), ("custom_b2b", "reorder"): (0.85, 0.95)}
# a peer's model -> our model of the same kind
COUNTERPARTS = {
    "implicit_als": "ials",
    "lenskit_als": "ials",
    "rectools_ease": "ease",
    "lenskit_user_neighbours": "collaborative_filtering",
    "recbole_neumf": "neural_collaborative",
    "recbole_sasrec": "sasrec",
    "rectools_sasrec": "sasrec",
    "rectools_two_stage": FLAGSHIP,
}
AHEAD_ON = ("all", "discovery")  # views on which the flagship must be ahead of every peer
AHEAD, NOT_BEHIND = "ahead", "not behind"  # requirements on a difference


@dataclass
class Field:
    """The lists of all entrants, and notes about them."""

    ours: dict[str, Lists] = field(default_factory=dict)
    others: dict[str, Lists] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)
    reruns: dict[str, dict[str, Lists]] = field(default_factory=dict)  # "seed 1", "ties 1" ... -> ours, fitted again

    @property
    def flagship(self) -> str:
        """The model that the others are compared with."""
        return FLAGSHIP if FLAGSHIP in self.ours else next(reversed(self.ours))


@dataclass(frozen=True)
class View:
    """One target view: the NDCG@10 of each entrant, user by user."""

    name: str
    ndcg: Mapping[str, Vector]
    reruns: Mapping[str, Mapping[str, Vector]]  # rerun -> the same for our models
    oracle: Vector | None = None  # the oracle's


def views_of(task: BenchmarkTask, found: Field, oracle_lists: Lists | None) -> list[View]:
    """The views all, reorder, discovery and sampled, if the task has them; then the cold-start tasks of our models."""
    views = []
    for name in [*task.views, *(["sampled"] if task.sampled is not None else [])]:
        relevant = task.views["all" if name == "sampled" else name].relevant
        views.append(_view(name, relevant, {**found.ours, **found.others}, found.reruns, oracle_lists))
    return views + [_view(name, cold.relevant, found.ours, found.reruns, None) for name, cold in task.cold.items()]


def _view(
    name: str,
    relevant: csr_array,
    lists: Mapping[str, Lists],
    reruns: Mapping[str, Mapping[str, Lists]],
    oracle_lists: Lists | None,
) -> View:
    def ndcg(of: Mapping[str, Lists]) -> dict[str, Vector]:
        return {entrant: ranking.ndcg(view_lists[name], relevant) for entrant, view_lists in of.items()}

    oracle = None if oracle_lists is None else ranking.ndcg(oracle_lists[name], relevant)
    return View(name, ndcg(lists), {rerun: ndcg(of) for rerun, of in reruns.items()}, oracle)


def view_rows(task: BenchmarkTask, view: View, found: Field) -> list[dict[str, Any]]:
    """One row per entrant, best first: its mean on the view, and the flagship's lead over it."""
    flagship = found.flagship
    means = {name: float(np.nanmean(vector)) for name, vector in view.ndcg.items()}
    compared = compare_all(view.ndcg, flagship, RESAMPLES)
    best_base = best_base_model(found, means)
    rows = []
    for name in sorted(means, key=lambda name: -means[name]):
        row = _row(task, view, name, flagship if name in found.others else name)
        if task.sampled is not None and view.name in ("all", "sampled"):  # one held-out item: in the list or not
            row["hit_rate"] = round(float(np.nanmean(view.ndcg[name] > 0)), 4)
        row |= _spreads(view, name, flagship)
        if name == flagship:
            row |= _flagship_bounds(task, view.name, row)
        else:
            other = compared[name]
            gain = Interval(-other.interval.value, -other.interval.high, -other.interval.low)
            role = None if flagship != FLAGSHIP or task.scale != 1.0 else role_of(view.name, name, found, best_base)
            row |= difference(gain, role) | {"p": round(other.p, 5)}
        row["note"] = "; ".join(_notes(name, view, found, best_base, row))
        rows.append(row)
        result_table.show_accuracy(row)
    return rows


def best_base_model(found: Field, means: Mapping[str, float]) -> str | None:
    """Our base model with the highest mean; None if there is none."""
    base_models = [name for name in found.ours if name not in (*ENSEMBLES, found.flagship)]
    return max(base_models, key=lambda name: means[name], default=None)


def role_of(view: str, name: str, found: Field, best_base: str | None) -> str | None:
    """The requirement on the flagship's difference to an entrant on a view: AHEAD, NOT_BEHIND or None."""
    if name in found.others:
        return AHEAD if view in AHEAD_ON else None
    if view.startswith(COLD_ITEMS):
        return NOT_BEHIND if name == "content_based" and view.endswith("among_all") else None
    if view == LATER_VISITS and name == "popularity":
        return NOT_BEHIND
    compares_base_models = view in (*AHEAD_ON, "reorder", "sampled", LATER_VISITS)
    return NOT_BEHIND if compares_base_models and name in (best_base, "hybrid") else None


def difference(gain: Interval, role: str | None) -> dict[str, Any]:
    """The flagship's lead as row entries. AHEAD: interval above 0; NOT_BEHIND: interval not below 0 (goal: above)."""
    found: dict[str, Any] = {"difference": [round(part, 4) + 0.0 for part in gain]}  # no -0.0
    if role is not None:
        ahead = bool(gain.low > 0)
        met = ahead if role == AHEAD else bool(gain.high >= 0)
        found |= {"floor": 0.0, "floor_met": met, "goal": 0.0, "met": ahead, "bounds": role}
    return found


def apply_holm(rows: Sequence[dict[str, Any]]) -> int:
    """Adds p_holm to all rows with a p, corrected over all of them. A lead that is not significant after it is not met.

    Returns the number of comparisons.
    """
    compared = [row for row in rows if "p" in row]
    for row, p in zip(compared, holm(np.array([row["p"] for row in compared], dtype=np.float64)), strict=True):
        row["p_holm"] = round(float(p), 5)
        if not p <= LEVEL and row["floor"] is not None:
            row["met"] = False
            row["floor_met"] = row["floor_met"] and row["bounds"] == NOT_BEHIND
    return len(compared)


def share_interval(part: Vector, whole: Vector) -> Interval:
    """mean(part) / mean(whole) with a 95 % bootstrap interval, both from the same resamples of users."""
    defined = ~(np.isnan(part) | np.isnan(whole))
    pair = np.column_stack([part[defined], whole[defined]])
    means = resampled_means(pair, 1000, 42)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    return Interval(float(pair[:, 0].mean() / pair[:, 1].mean()), float(low), float(high))


def spread(values: Sequence[float]) -> dict[str, float]:
    """The spread of a figure over runs: number of runs, standard deviation, lowest and highest; {} for one run."""
    if len(values) < 2:
        return {}
    of = {"sd": np.std(values, ddof=1), "low": min(values), "high": max(values)}
    return {"n": len(values), **{name: round(float(value), 5) for name, value in of.items()}}


def _spreads(view: View, name: str, flagship: str) -> dict[str, Any]:
    """The spread of a model's mean, and of the flagship's lead over it, over seeds and over orders of ties."""
    found: dict[str, Any] = {}
    for kind in ("seed", "ties"):
        reruns = [view.ndcg, *(of for rerun, of in view.reruns.items() if rerun.startswith(kind))]
        means = [float(np.nanmean(of[name])) for of in reruns if name in of]
        if of_mean := spread(means):
            found[f"{kind}_spread"] = of_mean
        if name == flagship:
            continue
        other = {**view.ndcg}  # a peer has one run
        leads = [np.nanmean(of[flagship] - of.get(name, other[name])) for of in reruns if flagship in of]
        if of_lead := spread([float(lead) for lead in leads]):
            found[f"{kind}_lead"] = of_lead
    return found


def _row(task: BenchmarkTask, view: View, name: str, ours: str) -> dict[str, Any]:
    """ours: the model whose mean is the entry "ours" of the row."""
    mean = mean_interval(view.ndcg[name])
    peer = None if ours == name else (name, mean.value)
    n_users = int((~np.isnan(view.ndcg[name])).sum())
    what = f"{task.name} {view.name}: {name}"
    row = result_table.row(what, "NDCG@10", float(np.nanmean(view.ndcg[ours])), peer)
    row |= {"data_set": task.name, "view": view.name, "entrant": name, "users": n_users}
    row |= {"value": round(mean.value, 4), "interval": result_table.ends(mean)}
    if view.oracle is not None:
        share = share_interval(view.ndcg[name], view.oracle)
        row |= {"share": round(share.value, 4), "share_interval": result_table.ends(share)}
        row["oracle"] = round(float(np.nanmean(view.oracle)), 4)
    return row


def _flagship_bounds(task: BenchmarkTask, view: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The floor and the goal of the flagship, which hold on the test window of the whole data set."""
    on = "share" if (task.name, view) in SHARES else "value"
    floor, goal = (SHARES if on == "share" else BOUNDS).get((task.name, view), (None, None))
    if floor is None or task.scale != 1.0 or task.validation:
        return {}
    bounds = {"floor": floor, "floor_met": row[on] >= floor, "goal": goal, "met": row[on] >= goal}
    return {**bounds, "bounds": "share of the oracle" if on == "share" else "ours"}


def _notes(name: str, view: View, found: Field, best_base: str | None, row: Mapping[str, Any]) -> list[str]:
    notes = [found.notes[name]] if found.notes.get(name) else []
    if name == best_base:
        notes.append("our best base model")
    ours = COUNTERPARTS.get(name, "")
    if ours in view.ndcg and ours != found.flagship:
        gain = compare_all({name: view.ndcg[name], ours: view.ndcg[ours]}, name, 1000)[ours].interval
        notes.append(f"{ours} minus this model {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
    if abs(row.get("difference", [1.0])[0]) < SMALL_LEAD:
        for kind, words in (("seed", "seeds"), ("ties", "orders of ties")):
            if lead := row.get(f"{kind}_lead"):
                notes.append(f"the lead over {lead['n']} {words} {lead['low']:+.4f} to {lead['high']:+.4f}")
    return notes
