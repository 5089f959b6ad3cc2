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
class Decision:
    """The gate's answer. `record` is JSON-ready and is kept with the version."""

    promote: bool
    reasons: tuple[str, ...]
    record: dict[str, Any]


def decide(
    challenger: Vector,
    popularity: Vector,
    champion: Vector | None = None,
    *,
    candidate: str,
    champion_name: str = "champion",
    rules: GateRules | None = None,
) -> Decision:
    """Promotes a challenger that beats popularity and is not worse than the champion.

    Popularity itself need not beat popularity. Without a champion the challenger is promoted, and the record
    says so. Raises ReleaseError if the vectors differ in length.
    """
    rules = rules or GateRules()
    record: dict[str, Any] = {"metric": "ndcg@10", "rules": asdict(rules), "challenger": candidate}
    record["challenger_mean"] = _mean(challenger)
    checks: list[tuple[bool, str]] = []
    if candidate != BASELINE:
        against = compare(challenger, popularity, rules)
        record["versus_popularity"] = _plain({"popularity_mean": _mean(popularity), **asdict(against)})
        checks.append(_beats_popularity(candidate, against))
    if champion is not None:
        against = compare(challenger, champion, rules)
        allowed = rules.margin * float(np.mean(champion[_paired(challenger, champion)])) if against.users else np.nan
        record["champion"] = champion_name
        figures = {"champion_mean": _mean(champion), "allowed_loss": allowed, **asdict(against)}
        record["versus_champion"] = _plain(figures)
        checks.append(_not_worse(candidate, champion_name, against, allowed))
    promote = champion is None or all(passed for passed, _ in checks)
    reasons = tuple(reason for _, reason in checks)
    if champion is None:
        reasons = (f"no champion yet: {candidate} is the best candidate and becomes the first", *reasons)
    record |= {"promote": promote, "first_champion": champion is None, "reasons": list(reasons)}
    return Decision(promote, reasons, record)


def choose_candidate(
    vectors: Mapping[str, Vector],
    preferred: Sequence[str] = ("hybrid", "hybrid_learned"),
    has_champion: bool = False,
    rules: GateRules | None = None,
) -> str:
    """The model to release: the better of the preferred ones.

    Where nobody serves yet and that one does not beat popularity: the best scoring one, and popularity itself where
    that does not either. The best scoring one where no preferred one was trained. Raises ReleaseError if nothing has a
    score.
    """
    means = {name: _mean(vector) for name, vector in vectors.items()}
    scored = {name: mean for name, mean in means.items() if mean is not None}
    if not scored:
        raise ReleaseError(
            f"no candidate has a defined NDCG@10; got {', '.join(vectors) or 'no model'}; train one first"
        )
    best = max(scored, key=lambda name: scored[name])
    trained = [name for name in preferred if name in scored]
    if not trained:
        return best
    chosen = max(trained, key=lambda name: scored[name])
    if has_champion or BASELINE not in vectors or chosen == BASELINE:
        return chosen
    for name in (chosen, best):
        if beats_popularity(vectors, name, rules):
            return name
    return BASELINE


def beats_popularity(vectors: Mapping[str, Vector], name: str, rules: GateRules | None = None) -> bool:
    """Whether a model ranks better than popularity by a paired interval, as the gate asks."""
    return _beats_popularity(name, compare(vectors[name], vectors[BASELINE], rules or GateRules()))[0]


def compare(left: Vector, right: Vector, rules: GateRules) -> Comparison:
    """Paired bootstrap over users of the mean difference left - right.

    Raises ReleaseError if lengths differ.
    """
    if left.shape != right.shape:
        raise ReleaseError(f"the gate compares the same users; got vectors of {left.shape} and {right.shape}")
    interval = paired_difference(left, right, rules.n_resamples, rules.confidence, rules.seed)
    return Comparison(*interval, users=int(_paired(left, right).sum()))


def _beats_popularity(name: str, against: Comparison) -> tuple[bool, str]:
    if against.users < FEWEST_USERS:
        return (
            False,
            f"{name} cannot be compared with popularity: {against.users} users have a defined NDCG@10",
        )
    passed = against.low > 0
    verb = "beats" if passed else "does not beat"
    return passed, f"{name} {verb} popularity: {_told(against)}; the low end must be above 0"


def _not_worse(name: str, champion: str, against: Comparison, allowed: float) -> tuple[bool, str]:
    if against.users < FEWEST_USERS:
        return (
            False,
            f"{name} cannot be compared with {champion}: {against.users} users have a defined NDCG@10",
        )
    passed = against.low >= -allowed
    verb = "is not worse than" if passed else "may be worse than"
    return passed, f"{name} {verb} {champion}: {_told(against)}; the low end must reach {-allowed:+.4f}"


def _told(against: Comparison) -> str:
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
