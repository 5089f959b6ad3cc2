"""From lists to the rows of benchmarks/accuracy.py: means, paired differences, how far luck moves them, Holm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from measuring import table
from measuring.entrants import Lists
from measuring.questions import COLD_ITEMS, LATER_VISITS, Question
from recommenders.evaluation.comparison import Interval, compare_all, holm, mean_interval, resampled_means
from recommenders.metrics import ranking
from recommenders.models.catalog import COMPOSED

FLAGSHIP = "hybrid_learned"
RESAMPLES = 10_000  # behind p-values: Holm's correction needs small ones
LEVEL = 0.05
SMALL_LEAD = 0.01  # of NDCG@10: where seeds and the order of ties might undo a lead, their spread is printed
Vector = NDArray[np.float64]  # one value a user

# (data set, view) -> (floor, goal) of the flagship's NDCG@10, or of its share of the oracle's; on the test window
BOUNDS = {("online_retail", "all"): (0.38, 0.40), ("online_retail", "discovery"): (0.132, 0.145)}
SHARES = {("custom_b2b", "all"): (0.85, 0.95), ("custom_b2b", "reorder"): (0.85, 0.95)}
# a peer's model -> ours of the same kind
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
AHEAD, NOT_BEHIND = "ahead", "not behind"  # what a difference must be


@dataclass
class Field:
    """Everybody's lists, and what is to be said about them."""

    ours: dict[str, Lists] = field(default_factory=dict)
    others: dict[str, Lists] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)
    draws: dict[str, dict[str, Lists]] = field(default_factory=dict)  # "seed 1", "ties 1" ... -> ours once more

    @property
    def flagship(self) -> str:
        """The model that the others are compared with."""
        return FLAGSHIP if FLAGSHIP in self.ours else next(reversed(self.ours))


@dataclass(frozen=True)
class View:
    """One question to all: the NDCG@10 of each entrant, user by user."""

    name: str
    judged: Mapping[str, Vector]
    drawn: Mapping[str, Mapping[str, Vector]]  # draw -> the same of ours
    best: Vector | None = None  # the oracle's


def views_of(asked: Question, found: Field, best: Lists | None) -> list[View]:
    """all, reorder, discovery and sampled candidates, where a question has them; then the cold cases, ours alone.

    best: the oracle's lists.
    """
    views = []
    for name in [*asked.views, *(["sampled"] if asked.sampled is not None else [])]:
        relevant = asked.views["all" if name == "sampled" else name].relevant
        views.append(_view(name, relevant, {**found.ours, **found.others}, found.draws, best))
    return views + [_view(name, case.relevant, found.ours, found.draws, None) for name, case in asked.cold.items()]


def _view(
    name: str,
    relevant: csr_array,
    lists: Mapping[str, Lists],
    draws: Mapping[str, Mapping[str, Lists]],
    best: Lists | None,
) -> View:
    def judged(of: Mapping[str, Lists]) -> dict[str, Vector]:
        return {entrant: ranking.ndcg(its[name], relevant) for entrant, its in of.items()}

    oracle = None if best is None else ranking.ndcg(best[name], relevant)
    return View(name, judged(lists), {draw: judged(of) for draw, of in draws.items()}, oracle)


def view_rows(asked: Question, view: View, found: Field) -> list[dict[str, Any]]:
    """Everybody's mean on a view, best first, and how far the flagship is ahead of each."""
    flagship = found.flagship
    means = {name: float(np.nanmean(vector)) for name, vector in view.judged.items()}
    compared = compare_all(view.judged, flagship, RESAMPLES)
    best_member = best_member_of(found, means)
    rows = []
    for name in sorted(means, key=lambda name: -means[name]):
        line = _line(asked, view, name, flagship if name in found.others else name)
        if asked.sampled is not None and view.name in ("all", "sampled"):  # one held-out item: in the list or not
            line["hit_rate"] = round(float(np.nanmean(view.judged[name] > 0)), 4)
        line |= _spreads(view, name, flagship)
        if name == flagship:
            line |= _bounded(asked, view.name, line)
        else:
            other = compared[name]
            gain = Interval(-other.interval.value, -other.interval.high, -other.interval.low)
            role = None if flagship != FLAGSHIP or asked.scale != 1.0 else role_of(view.name, name, found, best_member)
            line |= difference(gain, role) | {"p": round(other.p, 5)}
        line["note"] = "; ".join(_remarks(name, view, found, best_member, line))
        rows.append(line)
        table.show_accuracy(line)
    return rows


def best_member_of(found: Field, means: Mapping[str, float]) -> str | None:
    """The single model of ours with the highest mean; None if there is none."""
    members = [name for name in found.ours if name not in (*COMPOSED, found.flagship)]
    return max(members, key=lambda name: means[name], default=None)


def role_of(view: str, name: str, found: Field, best_member: str | None) -> str | None:
    """What the flagship must be to an entrant on a view: AHEAD, NOT_BEHIND or nothing."""
    if name in found.others:
        return AHEAD if view in AHEAD_ON else None
    if view.startswith(COLD_ITEMS):
        return NOT_BEHIND if name == "content_based" and view.endswith("among_all") else None
    if view == LATER_VISITS and name == "popularity":
        return NOT_BEHIND
    asked_of_members = view in (*AHEAD_ON, "reorder", "sampled", LATER_VISITS)
    return NOT_BEHIND if asked_of_members and name in (best_member, "hybrid") else None


def difference(gain: Interval, role: str | None) -> dict[str, Any]:
    """How much more the flagship reaches. AHEAD: the interval lies above 0; NOT_BEHIND: not below 0 (goal: above)."""
    found: dict[str, Any] = {"difference": [round(part, 4) + 0.0 for part in gain]}  # no -0.0
    if role is not None:
        ahead = bool(gain.low > 0)
        met = ahead if role == AHEAD else bool(gain.high >= 0)
        found |= {"floor": 0.0, "floor_met": met, "goal": 0.0, "met": ahead, "bounds": role}
    return found


def corrected(rows: Sequence[dict[str, Any]]) -> int:
    """Adds p_holm to all rows with a p, corrected over all of them; a lead that it does not bear out is not met.

    Returns the number of comparisons.
    """
    compared = [line for line in rows if "p" in line]
    for line, p in zip(compared, holm(np.array([line["p"] for line in compared], dtype=np.float64)), strict=True):
        line["p_holm"] = round(float(p), 5)
        if not p <= LEVEL and line["floor"] is not None:
            line["met"] = False
            line["floor_met"] = line["floor_met"] and line["bounds"] == NOT_BEHIND
    return len(compared)


def share_interval(part: Vector, whole: Vector) -> Interval:
    """mean(part) / mean(whole) with a 95 % bootstrap interval, both from the same draws of users."""
    defined = ~(np.isnan(part) | np.isnan(whole))
    pair = np.column_stack([part[defined], whole[defined]])
    means = resampled_means(pair, 1000, 42)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    return Interval(float(pair[:, 0].mean() / pair[:, 1].mean()), float(low), float(high))


def spread(values: Sequence[float]) -> dict[str, float]:
    """How far luck moves a figure: number of draws, standard deviation, lowest and highest; {} of a single draw."""
    if len(values) < 2:
        return {}
    of = {"sd": np.std(values, ddof=1), "low": min(values), "high": max(values)}
    return {"n": len(values), **{name: round(float(value), 5) for name, value in of.items()}}


def _spreads(view: View, name: str, flagship: str) -> dict[str, Any]:
    """Of a model of ours over seeds and over orders of ties; and of the flagship's lead over each entrant."""
    found: dict[str, Any] = {}
    for kind in ("seed", "ties"):
        draws = [view.judged, *(of for draw, of in view.drawn.items() if draw.startswith(kind))]
        means = [float(np.nanmean(of[name])) for of in draws if name in of]
        if of_mean := spread(means):
            found[f"{kind}_spread"] = of_mean
        if name == flagship:
            continue
        other = {**view.judged}  # a peer has one draw
        leads = [np.nanmean(of[flagship] - of.get(name, other[name])) for of in draws if flagship in of]
        if of_lead := spread([float(lead) for lead in leads]):
            found[f"{kind}_lead"] = of_lead
    return found


def _line(asked: Question, view: View, name: str, ours: str) -> dict[str, Any]:
    """`ours`: whose mean stands as ours, beside that of a peer."""
    mean = mean_interval(view.judged[name])
    peer = None if ours == name else (name, mean.value)
    n_users = int((~np.isnan(view.judged[name])).sum())
    what = f"{asked.name} {view.name}: {name}"
    line = table.row(what, "NDCG@10", float(np.nanmean(view.judged[ours])), peer)
    line |= {"data_set": asked.name, "view": view.name, "entrant": name, "users": n_users}
    line |= {"value": round(mean.value, 4), "interval": table.ends(mean)}
    if view.best is not None:
        share = share_interval(view.judged[name], view.best)
        line |= {"share": round(share.value, 4), "share_interval": table.ends(share)}
        line["oracle"] = round(float(np.nanmean(view.best)), 4)
    return line


def _bounded(asked: Question, view: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """The floor and the goal of the flagship, on the whole data set's test window."""
    on = "share" if (asked.name, view) in SHARES else "value"
    floor, goal = (SHARES if on == "share" else BOUNDS).get((asked.name, view), (None, None))
    if floor is None or asked.scale != 1.0 or asked.validation:
        return {}
    bounds = {"floor": floor, "floor_met": line[on] >= floor, "goal": goal, "met": line[on] >= goal}
    return {**bounds, "bounds": "share of the oracle" if on == "share" else "ours"}


def _remarks(name: str, view: View, found: Field, best_member: str | None, line: Mapping[str, Any]) -> list[str]:
    remarks = [found.notes[name]] if found.notes.get(name) else []
    if name == best_member:
        remarks.append("best single model of ours")
    ours = COUNTERPARTS.get(name, "")
    if ours in view.judged and ours != found.flagship:
        gain = compare_all({name: view.judged[name], ours: view.judged[ours]}, name, 1000)[ours].interval
        remarks.append(f"{ours} less it {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
    if abs(line.get("difference", [1.0])[0]) < SMALL_LEAD:
        for kind, words in (("seed", "seeds"), ("ties", "orders of ties")):
            if lead := line.get(f"{kind}_lead"):
                remarks.append(f"the lead over {lead['n']} {words} {lead['low']:+.4f} to {lead['high']:+.4f}")
    return remarks
