"""The figures of a played scenario: how soon the platform saw the change, retrained and recovered, and what it cost."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.drill.play import Day, Record
from orchestration.drill.scenarios import SCENARIOS, WEEK

BY_MONITORING = ("drift", "quality", "follow-up")  # causes of a retraining that need an alarm
NDCG_SHARE, LOSS_SHARE = 0.95, 0.8  # of the oracle's retraining, and of the loss: from there on it has recovered
WORSE = 2.94  # two-sided 5 % of 30 promotions together, after Bonferroni
NO_LOSS = 0.01  # of the NDCG: a smaller loss is not worth a share


@dataclass(frozen=True)
class Figures:
    """Days are counted from the change on: 1 is its first evening. None: it did not happen.

    false_alarms, needless_retrainings: before the change, or in a scenario that asks for none; of how many evenings.
    detect_days: the first evening with an alarm, which is `detected_by`: feed, drift or quality. retrain_days: of the
    first retraining for drift or quality. recover_days: of the first seven days of the new model with NDCG_SHARE of the
    NDCG of the oracle's retraining, which have regained LOSS_SHARE of the loss: what a model that is never retrained
    lacks against it. ndcg_share, regained: in the second week after the alarm; regained is None where the loss is below
    NO_LOSS. rollback_days, heal_days: until the version before serves again, and until the feed has no fault any more.
    wrong_promotions: those after which the lists, until the next promotion, were significantly worse than the lists of
    the version before for the same visits (WORSE standard errors). regret: purchases from lists that the oracle's lists
    would have had in addition, per visit, from the change on. gained, gained_revenue: what the platform's lists had in
    addition to those of a model that is never retrained.
    """

    scenario: str
    seed: int
    evenings: int
    false_alarms: int
    needless_retrainings: int
    detect_days: int | None
    detected_by: str
    retrain_days: int | None
    recover_days: int | None
    ndcg_share: float | None
    regained: float | None
    rollback_days: int | None
    heal_days: int | None
    retrainings: int
    promotions: int
    wrong_promotions: int
    regret: float
    gained: float
    gained_revenue: float


def figures(record: Record) -> Figures:
    """Of a record, from its days."""
    scenario, days, change = SCENARIOS[record.scenario], record.days, record.change
    before = days if record.scenario == "none" else days[:change]
    after = [] if record.scenario == "none" else days[change:]
    detected = first(after, lambda day: bool(alarm(day)))
    retrained = first(after, lambda day: any(run["cause"] in BY_MONITORING for run in day.runs))
    asks_for_none = before if scenario.is_drift or record.scenario == "none" else days
    second = after[detected + WEEK - 1 : detected + 2 * WEEK - 1] if detected else []
    versions = [day.version for day in days]
    return Figures(
        scenario=record.scenario,
        seed=record.seed,
        evenings=len(before),
        false_alarms=sum(bool(alarm(day)) and not (i and alarm(before[i - 1])) for i, day in enumerate(before)),
        needless_retrainings=sum(run["cause"] in BY_MONITORING for day in asks_for_none for run in day.runs),
        detect_days=detected,
        detected_by=alarm(after[detected - 1]) if detected else "",
        retrain_days=retrained,
        recover_days=recovery(after, retrained) if scenario.is_drift else None,
        ndcg_share=ratio(second, "served", "retrained") if scenario.is_drift else None,
        regained=regained(second) if scenario.is_drift else None,
        rollback_days=rolled_back(after) if scenario.fault == "bad model" else None,
        heal_days=healed(after) if scenario.fault_days else None,
        retrainings=sum(len([run for run in day.runs if run["sensor"]]) for day in days),
        promotions=sum(one < other for one, other in itertools.pairwise(versions)),
        wrong_promotions=sum(is_wrong(after_promotion) for after_promotion in promoted(days)),
        regret=lead(after or days, "oracle", "served", "expected"),
        gained=lead(after or days, "served", "never retrained", "expected"),
        gained_revenue=lead(after or days, "served", "never retrained", "revenue"),
    )


def alarm(day: Day) -> str:
    """What raised an alarm on a day; "" without one."""
    if day.feed:
        return "feed"
    return "drift" if day.drifted else "quality" if day.decay or day.release else ""


def first(days: Sequence[Day], holds: Callable[[Day], bool]) -> int | None:
    """The number of the first day on which something holds, from 1 on."""
    return next((number for number, day in enumerate(days, 1) if holds(day)), None)


def total(days: Sequence[Day], name: str, value: str) -> float:
    """The sum of a value over the visits of some days that have a list of that name."""
    return sum(day.values[name][value] for day in days if name in day.values)


def ratio(days: Sequence[Day], ours: str, theirs: str) -> float | None:
    """NDCG of one list as a share of that of another one; None if there is none."""
    both = [day for day in days if ours in day.values and theirs in day.values]
    return total(both, ours, "ndcg") / total(both, theirs, "ndcg") if both else None


def regained(days: Sequence[Day]) -> float | None:
    """The share of the loss that is regained; None if the loss is below NO_LOSS, or if there is nothing to compare."""
    both = [day for day in days if "retrained" in day.values]
    best, worst = (total(both, name, "ndcg") for name in ("retrained", "never retrained"))
    if not both or best - worst < NO_LOSS * best:
        return None
    return (total(both, "served", "ndcg") - worst) / (best - worst)


def recovery(days: Sequence[Day], retrained: int | None) -> int | None:
    """The last of the first seven days that have recovered, after a retraining."""
    for end in range((retrained or len(days)) + WEEK, len(days) + 1):
        week = days[end - WEEK : end]
        share, back = ratio(week, "served", "retrained"), regained(week)
        if share is not None and share >= NDCG_SHARE and (back is None or back >= LOSS_SHARE):
            return end
    return None


def rolled_back(days: Sequence[Day]) -> int | None:
    """When an earlier version than that of the first day serves again."""
    return first(days, lambda day: day.version < days[0].version)


def healed(days: Sequence[Day]) -> int | None:
    """When the feed has no fault any more, after it had one."""
    broken = first(days, lambda day: bool(day.feed))
    return first(days, lambda day: not day.feed and broken is not None and days.index(day) >= broken)


def promoted(days: Sequence[Day]) -> Iterator[list[Day]]:
    """The days after each promotion of a newer version, until another version serves."""
    periods = [list(group) for _, group in itertools.groupby(days, key=lambda day: day.version)]
    for before, period in itertools.pairwise(periods):
        if period[0].version > before[-1].version:
            following = days[days.index(period[-1]) + 1 : days.index(period[-1]) + 2]
            # a version that was promoted in the evening serves from the next day on, and on the day of its end
            yield [*period[1:], *following]


def is_wrong(days: Sequence[Day]) -> bool:
    """Whether the lists of these days are significantly worse than those of the version before."""
    pairs = [pair for day in days for pair in zip(day.ndcg["served"], day.ndcg.get("version before", ()), strict=False)]
    differences = np.array([ours - theirs for ours, theirs in pairs])
    if len(differences) < 2:
        return False
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    return bool(differences.mean() < -WORSE * error)


def lead(days: Sequence[Day], ours: str, theirs: str, value: str) -> float:
    """How much one list is worth more than another one, per visit."""
    n_visits = sum(day.n_visits for day in days)
    return (total(days, ours, value) - total(days, theirs, value)) / n_visits if n_visits else 0.0
