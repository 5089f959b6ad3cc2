"""Challenger against champion: the challenger's recipe, fitted before the champion's cut, is asked what that one was.

The champion's answers were stored with its version, so neither its code nor its configuration is needed any more.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError, ReleaseError
from recommenders.evaluation.rank import Lists
from recommenders.evaluation.report import Report
from recommenders.evaluation.window import Question, question_of
from recommenders.metrics.ranking import PRIMARY_METRIC, K
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_one
from serving.release.gate import Decision, Finding, Rival, decide
from serving.release.registry import Registry
from serving.release.versions import RECORD_TAG, ROLLED_BACK_TAG, Version


@dataclass(frozen=True, eq=False)
class Market:
    """The data as it is now. `restored`: a person went back to an earlier version of it."""

    interactions: pa.Table
    items: pa.Table
    protocol: Protocol
    restored: bool = False


def judge(
    registry: Registry,
    live: Version | None,
    challenger: Version,
    report: Report,
    market: Market,
    config: TrainingConfig,
    findings: Sequence[Finding] = (),
) -> Decision:
    """The gate's decision. report: of the challenger's recipe; findings: what else was looked at, the refit say."""
    vectors = report.vectors(PRIMARY_METRIC)
    own, popularity = vectors[challenger.model], vectors["popularity"]
    if live is None:
        return decide(own, popularity, candidate=challenger.model, findings=findings)
    rival = _rival(registry, live, challenger, report, market, config)
    older = _older_data(live, challenger, market)
    return decide(own, popularity, rival, candidate=challenger.model, findings=[*findings, *older])


def _rival(
    registry: Registry, live: Version, challenger: Version, report: Report, market: Market, config: TrainingConfig
) -> Rival:
    name = f"version {live.number} ({live.model})"
    must_beat = _must_beat(registry, live, challenger)
    if origin_of(live)[0] and (live.model, origin_of(live)[0]) == (challenger.model, origin_of(challenger)[0]):
        data = "the same data" if origin_of(live)[1] == origin_of(challenger)[1] else "other data"
        return Rival(name, f"the same recipe and code on {data}, so there is nothing to compare", must_beat=must_beat)
    try:
        window, left, right = _on_the_champions_window(registry, live, challenger, report, market, config)
    except (ConfigurationError, DataError, ReleaseError) as error:
        cause = " ".join(str(error).split())
        return Rival(name, f"it cannot be ({cause}), so popularity alone was to be beaten", must_beat=must_beat)
    return Rival(name, window, left, right, must_beat=must_beat)


def _on_the_champions_window(
    registry: Registry, live: Version, challenger: Version, report: Report, market: Market, config: TrainingConfig
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Which window; NDCG@10 of challenger and champion there, over the same users.

    Raises ReleaseError where the champion's lists are gone or were made under another protocol, DataError or
    ConfigurationError where the challenger cannot be fitted there.
    """
    if live.tags.get("protocol") != market.protocol.describe():
        raise ReleaseError(f"it was judged under another protocol: {live.tags.get('protocol', 'unknown')}")
    stored = registry.judged_lists(live)
    until = pa.scalar(datetime.fromisoformat(live.tags["trained_until"]).replace(tzinfo=UTC), schema.TIME)
    known = market.interactions.filter(pc.field("timestamp") <= until)
    if pc.max(known["timestamp"]).as_py() < until.as_py():
        raise ReleaseError("the data at hand ends before the data it was judged on")
    question = question_of(known, market.items, market.protocol)
    champion = judged_again(stored, question)
    if np.isnan(champion).all():
        raise ReleaseError("none of the users it was judged on is in the data any more")
    window = f"the window after {question.log.last_event:%Y-%m-%d %H:%M} on which version {live.number} was judged"
    if origin_of(live)[1] == origin_of(challenger)[1]:
        return window, _own_there(report, challenger.model, question), champion
    model = fit_one(challenger.model, config, question.log, question.features)
    return window, question.ndcg(question.lists(model)), champion


def _own_there(report: Report, model: str, question: Question) -> NDArray[np.float64]:
    """The report's values of a model for the users of a question, nan for who is not in the report."""
    own = report.per_user.filter(pc.field("model") == model)
    values = dict(zip(own["user_id"].to_pylist(), own[PRIMARY_METRIC].to_pylist(), strict=True))
    return np.array([values.get(user_id, np.nan) for user_id in question.case.user_ids.tolist()], dtype=np.float64)


def _must_beat(registry: Registry, live: Version, challenger: Version) -> str:
    """Why the challenger has to be better than what serves, if it has: its recipe was rolled back before."""
    recipe, data = origin_of(challenger)
    for version in registry.versions(challenger.dataset):
        rolled_back, again = version.tags.get(ROLLED_BACK_TAG), origin_of(version)
        if not rolled_back or (version.model, again[0]) != (challenger.model, recipe):
            continue
        if again[1] == data or recipe != origin_of(live)[0]:
            same = "recipe and data" if again[1] == data else "recipe"
            return (
                f"version {version.number}, of the same {same}, was rolled back on {rolled_back[:10]}, so it must beat "
                "what serves or be promoted by number"
            )
    return ""


def _older_data(live: Version, challenger: Version, market: Market) -> list[Finding]:
    """That the challenger has learned from a log that ends before the champion's, unless a person went back to it."""
    ends, served = challenger.tags.get("trained_until", ""), live.tags.get("trained_until", "")
    if market.restored or not ends or not served or ends >= served:
        return []
    return [Finding(False, f"its data ends {ends[:19]}, before that of version {live.number}, {served[:19]}")]


def origin_of(version: Version) -> tuple[str, str]:
    """The recipe of a version and the data it has learned from; empty where the version says nothing."""
    return version.tags.get("recipe", ""), version.tags.get("data_version", "")


# -- the lists that a version was judged by


def stored_lists(lists: Lists, question: Question) -> pa.Table:
    """Lists of a question's users as they are kept with a version: user_id, and item_ids with the best first."""
    ids = np.append(question.log.items.ids, "")[lists]  # -1, no item, is the last
    item_ids = [[item_id for item_id in row if item_id] for row in ids.tolist()]
    return pa.table({"user_id": question.case.user_ids, "item_ids": pa.array(item_ids, pa.list_(pa.string()))})


def judged_again(stored: pa.Table, question: Question) -> NDArray[np.float64]:
    """(n_users,) NDCG@10 of stored lists for a question's users, nan for a user that has none."""
    places = {user_id: place for place, user_id in enumerate(stored["user_id"].to_pylist())}
    found = np.array([places.get(user_id, -1) for user_id in question.case.user_ids.tolist()])
    ranked = np.full((len(found), K), -1, np.int32)
    lists = stored["item_ids"].to_pylist()
    for row, place in enumerate(found.tolist()):
        if place >= 0 and lists[place]:
            columns = question.log.items.rows(lists[place][:K])
            ranked[row, : len(columns)] = columns
    return np.where(found >= 0, question.ndcg(ranked), np.nan)


def release(registry: Registry, challenger: Version, decision: Decision) -> tuple[Version, bool, tuple[str, ...]]:
    """Promotes what the gate let pass, unless the version that serves is pinned; keeps the record either way.

    Returns the version that serves, whether it is the challenger, and why (not).
    """
    dataset, reasons = challenger.dataset, decision.reasons
    pointer = registry.pointer(dataset)
    if decision.promote and not (pointer and pointer.pinned):
        return registry.promote(dataset, challenger.number, decision.record), True, reasons
    if pointer and pointer.pinned:
        reasons = (*reasons, f"version {pointer.version} is pinned; tradewind release unpin lets others replace it")
    record = {**decision.record, "reasons": list(reasons), "pinned": bool(pointer and pointer.pinned)}
    registry.set_tags(challenger, {RECORD_TAG: json.dumps(record)})
    return registry.champion(dataset) or challenger, False, reasons


def promote_judged(registry: Registry, dataset: str, number: int, force: str = "") -> Version:
    """Promotes a version that the gate let pass, or any one against it with a reason, which is stored.

    Raises ReleaseError if the gate held the version back, or never saw it, and no reason is given.
    """
    version = registry.version(dataset, number)
    record = json.loads(version.tags.get(RECORD_TAG, "{}"))
    if not record.get("promote") and not force:
        why = "; ".join(record.get("reasons", [])) or "the gate never judged it"
        raise ReleaseError(
            f"version {number} of {dataset} may not be promoted: {why}; --force REASON does it against the gate"
        )
    if force:
        record = {**record, "forced": force}
    return registry.promote(dataset, number, record)
