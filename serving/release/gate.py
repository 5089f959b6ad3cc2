"""May the challenger replace the champion? Pure functions over one value per user; no server, no file.

A vector is (n_users,), NDCG@10 of the same users in the same order, nan where a user has nothing relevant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError, ReleaseError
from recommenders.evaluation.comparison import paired_difference
from recommenders.metrics.ranking import PRIMARY_METRIC

Vector = NDArray[np.floating[Any]]

BASELINE = "popularity"
FEWEST_USERS = 2  # below this an interval says nothing


@dataclass(frozen=True)
class GateRules:
    """What the gate asks.

    `margin` is how much worse than the champion may pass, as a share of the champion's mean.
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
class Comparison:
    """Mean of (left - right) over users both of whose values are defined, with its interval.

    Nan with too few users.
    """

    difference: float
    low: float
    high: float
    users: int


@dataclass(frozen=True)
class Rival:
    """What serves, as the gate meets it: two vectors over the same users of one window, or why there are none.

    `compared` says on which window, or why nothing is compared; then `stands` says whether the challenger may pass.
    `must_beat`: why not being worse is not enough, if so.
    """

    name: str
    compared: str
    challenger: Vector | None = None
    champion: Vector | None = None
    stands: bool = True
    must_beat: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it holds, in words."""

    passed: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """The gate's answer. `record` is JSON-ready and is kept with the version."""

    promote: bool
    reasons: tuple[str, ...]
    record: dict[str, Any]


def decide(
    challenger: Vector,
    popularity: Vector,
    rival: Rival | None = None,
    *,
    candidate: str,
    findings: Sequence[Finding] = (),
    rules: GateRules | None = None,
) -> Decision:
    """Promotes a challenger that beats popularity, is not worse than what serves, and of which all findings hold.

    challenger, popularity: both on the newest test window. Popularity itself need not beat popularity. Without a
    champion (rival) the challenger is promoted where the findings hold, and the record says so. Raises ReleaseError if
    vectors that are compared differ in length.
    """
    rules = rules or GateRules()
    record: dict[str, Any] = {"metric": PRIMARY_METRIC, "rules": asdict(rules), "challenger": candidate}
    record["challenger_mean"] = _mean(challenger)
    checks = list(findings)
    first = rival is None
    if candidate != BASELINE:
        against = compare(challenger, popularity, rules)
        record["versus_popularity"] = _plain({"popularity_mean": _mean(popularity), **asdict(against)})
        checks.append(_beats(candidate, BASELINE, against))
    if rival is not None:
        found, figures = _against(rival, candidate, rules)
        record |= {"champion": rival.name, "versus_champion": figures}
        checks.append(found)
    needed = findings if first else checks
    promote = all(check.passed for check in needed)
    reasons = tuple(check.reason for check in checks)
    if first and promote:
        reasons = (f"no champion yet: {candidate} is the best candidate and becomes the first", *reasons)
    record |= {"promote": promote, "first_champion": first, "reasons": list(reasons)}
    return Decision(promote, reasons, record)


def _against(rival: Rival, candidate: str, rules: GateRules) -> tuple[Finding, dict[str, Any]]:
    """Whether the challenger holds its own against what serves, and the figures of the comparison."""
    if rival.challenger is None or rival.champion is None:
        passed = rival.stands and not rival.must_beat
        reason = f"{candidate} is not compared with {rival.name}: {rival.compared}"
        return Finding(passed, f"{reason}; {rival.must_beat}" if rival.must_beat else reason), {}
    against = compare(rival.challenger, rival.champion, rules)
    paired = _paired(rival.challenger, rival.champion)
    allowed = rules.margin * float(np.mean(rival.champion[paired])) if against.users else np.nan
    if rival.must_beat:
        found = _beats(candidate, rival.name, against)
        found = Finding(found.passed, f"{found.reason}; {rival.must_beat}")
    else:
        found = _not_worse(candidate, rival.name, against, allowed)
    means = {"challenger_mean": _mean(rival.challenger), "champion_mean": _mean(rival.champion)}
    figures = _plain({**means, "allowed_loss": 0.0 if rival.must_beat else allowed, **asdict(against)})
    return found, {"window": rival.compared, **figures}


def choose_candidate(
    vectors: Mapping[str, Vector], chosen: str, has_champion: bool = False, rules: GateRules | None = None
) -> str:
    """The model to release: the one chosen on the validation window, if it could be fitted before the test window too.

    Where it could not, the best one that was. Where nothing serves yet and the chosen one does not beat popularity: the
    best one that does, and popularity itself where none does. Raises ReleaseError if nothing has a score.
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
    """Whether a model ranks better than popularity by a paired interval, as the gate asks."""
    return _beats(name, BASELINE, compare(vectors[name], vectors[BASELINE], rules or GateRules())).passed


def compare(left: Vector, right: Vector, rules: GateRules) -> Comparison:
    """Paired bootstrap over users of the mean difference left - right.

    Raises ReleaseError if lengths differ.
    """
    if left.shape != right.shape:
        raise ReleaseError(f"the gate compares the same users; got vectors of {left.shape} and {right.shape}")
    interval = paired_difference(left, right, rules.n_resamples, rules.confidence, rules.seed)
    return Comparison(*interval, users=int(_paired(left, right).sum()))


def _beats(name: str, other: str, against: Comparison) -> Finding:
    if against.users < FEWEST_USERS:
        return _undecided(name, other, against)
    passed = against.low > 0
    verb = "beats" if passed else "does not beat"
    return Finding(passed, f"{name} {verb} {other}: {_in_words(against)}; the low end must be above 0")


def _not_worse(name: str, champion: str, against: Comparison, allowed: float) -> Finding:
    if against.users < FEWEST_USERS:
        return _undecided(name, champion, against)
    passed = against.low >= -allowed
    verb = "is not worse than" if passed else "may be worse than"
    return Finding(passed, f"{name} {verb} {champion}: {_in_words(against)}; the low end must reach {-allowed:+.4f}")


def _undecided(name: str, other: str, against: Comparison) -> Finding:
    return Finding(False, f"{name} cannot be compared with {other}: {against.users} users have a defined NDCG@10")


def _in_words(against: Comparison) -> str:
    interval = f"[{against.low:+.4f}, {against.high:+.4f}]"
    return f"NDCG@10 {against.difference:+.4f} {interval} over {against.users} users"


def _paired(left: Vector, right: Vector) -> NDArray[np.bool_]:
    paired: NDArray[np.bool_] = ~(np.isnan(left) | np.isnan(right))
    return paired


def _mean(vector: Vector) -> float | None:
    defined = vector[~np.isnan(vector)]
    return float(defined.mean()) if len(defined) else None


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON, which has no nan."""
    return {name: None if value != value else value for name, value in figures.items()}
