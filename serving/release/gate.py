"""Decides whether the challenger may replace the champion. Pure functions over one value per user; no server, no file.

Input: vectors of (n_users,) NDCG@10 values, of the same users in the same order, nan where a user has no relevant item.
Output: a Decision with its reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError, ReleaseError
from recommenders.evaluation.statistics.comparison import paired_difference
from recommenders.metrics.ranking import PRIMARY_METRIC

Vector = NDArray[np.floating[Any]]

BASELINE = "popularity"
MIN_USERS = 2  # with fewer users an interval has no meaning


@dataclass(frozen=True)
class GateRules:
    """The limits of the gate.

    `margin` is the allowed loss against the champion, as a share of the champion's mean.
    """

    margin: float = 0.01
    confidence: float = 0.95
    n_resamples: int = 2000
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ConfigurationError(f"gate margin: got {self.margin}; allowed: a share from 0 to below 1")
        if not 0 < self.confidence < 1:
            raise ConfigurationError(f"gate confidence: got {self.confidence}; allowed: between 0 and 1, such as 0.95")


@dataclass(frozen=True)
class PairedDifference:
    """Mean of (left - right) over the users for whom both values are defined, with its interval.

    Nan with too few users.
    """

    difference: float
    low: float
    high: float
    users: int


@dataclass(frozen=True)
class ChampionComparison:
    """Challenger and champion as two vectors over the same users of one window, or the reason why there are none.

    name: of the champion, for messages. window_or_reason: the window, or why nothing is compared. In the second case
    `passes_uncompared` states whether the challenger may pass. must_be_better_reason: why the challenger has to be
    better than the champion, where "not worse" is not enough; else empty. is_provisional: the champion serves only
    until all models are fitted, so the challenger passes unless it is clearly worse.
    """

    name: str
    window_or_reason: str
    challenger: Vector | None = None
    champion: Vector | None = None
    passes_uncompared: bool = True
    must_be_better_reason: str = ""
    is_provisional: bool = False


@dataclass(frozen=True)
class GateCheck:
    """The result of one check of the gate, with its reason as a sentence."""

    passed: bool
    reason: str


class GateRecord(TypedDict, total=False):
    """What the gate found, ready for JSON; it is stored with the version."""

    metric: str
    rules: dict[str, float]
    challenger: str
    challenger_mean: float | None
    versus_popularity: dict[str, float | None]
    champion: str
    versus_champion: dict[str, Any]
    promote: bool
    first_champion: bool
    reasons: list[str]
    pinned: bool  # the champion was pinned when the challenger was evaluated
    forced: str  # a person's reason for a promotion against the gate


@dataclass(frozen=True)
class Decision:
    """The gate's decision, and its record."""

    promote: bool
    reasons: tuple[str, ...]
    record: GateRecord


def decide(
    challenger: Vector,
    popularity: Vector,
    comparison: ChampionComparison | None = None,
    *,
    candidate: str,
    earlier_checks: Sequence[GateCheck] = (),
    rules: GateRules | None = None,
) -> Decision:
    """Promotes a challenger that beats popularity, is not worse than the champion, and passed all earlier checks.

    challenger, popularity: both on the newest test window. Popularity itself need not beat popularity. Without a
    champion (comparison is None) the challenger is promoted if it passed the earlier checks, and the record states
    that. Raises ReleaseError if vectors that are compared differ in length.
    """
    rules = rules or GateRules()
    record: GateRecord = {"metric": PRIMARY_METRIC, "rules": asdict(rules), "challenger": candidate}
    record["challenger_mean"] = _mean(challenger)
    checks = list(earlier_checks)
    first = comparison is None
    if candidate != BASELINE:
        versus = compare(challenger, popularity, rules)
        record["versus_popularity"] = _nan_to_none({"popularity_mean": _mean(popularity), **asdict(versus)})
        checks.append(_check_better(candidate, BASELINE, versus))
    if comparison is not None:
        check, figures = _check_against_champion(comparison, candidate, rules)
        record["champion"], record["versus_champion"] = comparison.name, figures
        checks.append(check)
    needed = earlier_checks if first else checks
    promote = all(check.passed for check in needed)
    reasons = tuple(check.reason for check in checks)
    if first and promote:
        reasons = (
            f"there is no champion yet: {candidate} is the best candidate and becomes the first champion",
            *reasons,
        )
    record["promote"], record["first_champion"], record["reasons"] = promote, first, list(reasons)
    return Decision(promote, reasons, record)


def _check_against_champion(
    comparison: ChampionComparison, candidate: str, rules: GateRules
) -> tuple[GateCheck, dict[str, Any]]:
    """The check of the challenger against the champion, and the figures of the comparison."""
    must_be_better = comparison.must_be_better_reason
    if comparison.challenger is None or comparison.champion is None:
        passed = comparison.passes_uncompared and not must_be_better
        reason = f"{candidate} is not compared with {comparison.name}: {comparison.window_or_reason}"
        return GateCheck(passed, f"{reason}; {must_be_better}" if must_be_better else reason), {}
    versus = compare(comparison.challenger, comparison.champion, rules)
    paired = _paired(comparison.challenger, comparison.champion)
    allowed = rules.margin * float(np.mean(comparison.champion[paired])) if versus.users else np.nan
    if must_be_better:
        check = _check_better(candidate, comparison.name, versus)
        check = GateCheck(check.passed, f"{check.reason}; {must_be_better}")
    elif comparison.is_provisional:
        check = _check_not_clearly_worse(candidate, comparison.name, versus)
    else:
        check = _check_not_worse(candidate, comparison.name, versus, allowed)
    means = {"challenger_mean": _mean(comparison.challenger), "champion_mean": _mean(comparison.champion)}
    figures = _nan_to_none({**means, "allowed_loss": 0.0 if must_be_better else allowed, **asdict(versus)})
    return check, {"window": comparison.window_or_reason, **figures}


def choose_candidate(
    vectors: Mapping[str, Vector], chosen: str, has_champion: bool = False, rules: GateRules | None = None
) -> str:
    """The model to release: the one chosen on the validation window, if it was also fitted before the test window.

    If it was not, the best fitted model. If there is no champion yet and the chosen model does not beat popularity: the
    best model if that one beats popularity, else popularity. Raises ReleaseError if no model has a score.
    """
    means = {name: mean for name, vector in vectors.items() if (mean := _mean(vector)) is not None}
    if not means:
        got = ", ".join(vectors) or "no model"
        raise ReleaseError(f"no candidate has a defined NDCG@10; got {got}; train one first")
    best = max(means, key=lambda name: means[name])
    chosen = chosen if chosen in means else best
    if has_champion or BASELINE not in means or chosen == BASELINE:
        return chosen
    return next((name for name in (chosen, best) if beats_popularity(vectors, name, rules)), BASELINE)


def beats_popularity(vectors: Mapping[str, Vector], name: str, rules: GateRules | None = None) -> bool:
    """Whether a model ranks better than popularity by the paired interval of the gate."""
    return _check_better(name, BASELINE, compare(vectors[name], vectors[BASELINE], rules or GateRules())).passed


def compare(left: Vector, right: Vector, rules: GateRules) -> PairedDifference:
    """Paired bootstrap over users of the mean difference left - right.

    Raises ReleaseError if lengths differ.
    """
    if left.shape != right.shape:
        raise ReleaseError(f"the gate compares the same users; got vectors of {left.shape} and {right.shape}")
    interval = paired_difference(left, right, rules.n_resamples, rules.confidence, rules.seed)
    return PairedDifference(*interval, users=int(_paired(left, right).sum()))


def _check_better(name: str, other: str, versus: PairedDifference) -> GateCheck:
    if versus.users < MIN_USERS:
        return _not_comparable(name, other, versus)
    passed = versus.low > 0
    verb = "is better than" if passed else "is not clearly better than"
    return GateCheck(passed, f"{name} {verb} {other}: {_describe(versus)}; the lower bound must be above 0")


def _check_not_worse(name: str, champion: str, versus: PairedDifference, allowed: float) -> GateCheck:
    if versus.users < MIN_USERS:
        return _not_comparable(name, champion, versus)
    passed = versus.low >= -allowed
    verb = "is not worse than" if passed else "may be worse than"
    reason = f"{name} {verb} {champion}: {_describe(versus)}; the lower bound must be at least {-allowed:+.4f}"
    return GateCheck(passed, reason)


def _check_not_clearly_worse(name: str, champion: str, versus: PairedDifference) -> GateCheck:
    """Passes without enough users, too: a small shop gets the model of its configuration."""
    passed = versus.users < MIN_USERS or versus.high >= 0
    verb = "is not clearly worse than" if passed else "is clearly worse than"
    reason = f"{name} {verb} {champion}, which serves only until all models are fitted: {_describe(versus)}"
    return GateCheck(passed, f"{reason}; the upper bound must be at least 0")


def _not_comparable(name: str, other: str, versus: PairedDifference) -> GateCheck:
    reason = f"{name} cannot be compared with {other}: the number of users with a defined NDCG@10 is {versus.users}"
    return GateCheck(False, f"{reason}, and at least {MIN_USERS} are needed")


def _describe(versus: PairedDifference) -> str:
    interval = f"[{versus.low:+.4f}, {versus.high:+.4f}]"
    return f"the difference of NDCG@10 is {versus.difference:+.4f} {interval} over {versus.users} users"


def _paired(left: Vector, right: Vector) -> NDArray[np.bool_]:
    paired: NDArray[np.bool_] = ~(np.isnan(left) | np.isnan(right))
    return paired


def _mean(vector: Vector) -> float | None:
    defined = vector[~np.isnan(vector)]
    return float(defined.mean()) if len(defined) else None


def _nan_to_none(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures for JSON, which has no nan."""
    return {name: None if value != value else value for name, value in figures.items()}
