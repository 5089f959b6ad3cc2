"""Compares the challenger with the champion on the champion's test window.

The challenger's recipe is fitted on the data before that window and evaluated on it. The champion's lists of that
window were stored with its version, so neither its code nor its configuration is needed any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError, ReleaseError
from recommenders.evaluation.rank import Lists
from recommenders.evaluation.report import Report
from recommenders.evaluation.window_task import WindowTask, window_task
from recommenders.metrics.ranking import PRIMARY_METRIC, K
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_with_base_models
from serving.release.gate import ChampionComparison, Decision, GateCheck, GateRecord, decide
from serving.release.registry import Registry
from serving.release.versions import Version, record_tags


@dataclass(frozen=True, eq=False)
class MarketData:
    """The present data. `restored`: a person restored an earlier version of it."""

    interactions: pa.Table
    items: pa.Table
    protocol: Protocol
    restored: bool = False


def evaluate_challenger(
    registry: Registry,
    champion: Version | None,
    challenger: Version,
    report: Report,
    market: MarketData,
    config: TrainingConfig,
    refit_checks: Sequence[GateCheck] = (),
) -> Decision:
    """The gate's decision. report: of the challenger's recipe; refit_checks: earlier checks that it must pass too."""
    vectors = report.vectors(PRIMARY_METRIC)
    own, popularity = vectors[challenger.model], vectors["popularity"]
    if champion is None:
        return decide(own, popularity, candidate=challenger.model, earlier_checks=refit_checks)
    comparison = _compare_with_champion(registry, champion, challenger, report, market, config)
    data_checks = _check_data_age(champion, challenger, market)
    checks = [*refit_checks, *data_checks]
    return decide(own, popularity, comparison, candidate=challenger.model, earlier_checks=checks)


def _compare_with_champion(
    registry: Registry,
    champion: Version,
    challenger: Version,
    report: Report,
    market: MarketData,
    config: TrainingConfig,
) -> ChampionComparison:
    name = f"version {champion.number} ({champion.model})"
    must_be_better = _must_be_better_reason(registry, champion, challenger)
    if champion.recipe and (champion.model, champion.recipe) == (challenger.model, challenger.recipe):
        data = "the same data" if champion.data_version == challenger.data_version else "other data"
        reason = f"both have the same recipe and code, on {data}"
        return ChampionComparison(name, reason, must_be_better_reason=must_be_better)
    try:
        description, left, right = _values_on_champion_window(registry, champion, challenger, report, market, config)
    except (ConfigurationError, DataError, ReleaseError) as error:
        cause = " ".join(str(error).split())
        reason = f"the comparison is not possible ({cause}), so the challenger only had to beat popularity"
        return ChampionComparison(name, reason, must_be_better_reason=must_be_better)
    is_provisional = config.is_provisional(champion.recipe)
    return ChampionComparison(
        name, description, left, right, must_be_better_reason=must_be_better, is_provisional=is_provisional
    )


def _values_on_champion_window(
    registry: Registry,
    champion: Version,
    challenger: Version,
    report: Report,
    market: MarketData,
    config: TrainingConfig,
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """The window as text; NDCG@10 of challenger and champion on it, over the same users.

    Raises ReleaseError if the champion's lists are gone or were made under another protocol, DataError or
    ConfigurationError if the challenger cannot be fitted there.
    """
    if champion.protocol != market.protocol.describe():
        raise ReleaseError(f"it was evaluated under another protocol: {champion.protocol or 'unknown'}")
    if champion.trained_until is None:
        raise ReleaseError("the end of the data that it was trained on is unknown")
    stored = registry.evaluated_lists(champion)
    until = pa.scalar(champion.trained_until, schema.TIME)
    known = market.interactions.filter(pc.field("timestamp") <= until)
    if pc.max(known["timestamp"]).as_py() < until.as_py():
        raise ReleaseError("the present data ends before the data that it was evaluated on")
    window = window_task(known, market.items, market.protocol)
    champion_values = ndcg_of_stored_lists(stored, window)
    if np.isnan(champion_values).all():
        raise ReleaseError("none of the users that it was evaluated on is in the data any more")
    description = (
        f"the window after {window.log.last_event:%Y-%m-%d %H:%M}, on which version {champion.number} was evaluated"
    )
    if champion.data_version == challenger.data_version:
        return description, _reported_values(report, challenger.model, window), champion_values
    model = fit_with_base_models(challenger.model, config, window.log, window.features)
    return description, window.ndcg(window.lists(model)), champion_values


def _reported_values(report: Report, model: str, window: WindowTask) -> NDArray[np.float64]:
    """(n_users,) the report's values of a model for the users of a window, nan for users that are not in the report."""
    own = report.per_user.filter(pc.field("model") == model)
    values = dict(zip(own["user_id"].to_pylist(), own[PRIMARY_METRIC].to_pylist(), strict=True))
    return np.array([values.get(user_id, np.nan) for user_id in window.task.user_ids.tolist()], dtype=np.float64)


def _must_be_better_reason(registry: Registry, champion: Version, challenger: Version) -> str:
    """Why the challenger has to be better than the champion: its recipe was rolled back before. Else empty."""
    for version in registry.versions(challenger.dataset):
        rolled_back, same_data = version.rolled_back_at, version.data_version == challenger.data_version
        if rolled_back is None or (version.model, version.recipe) != (challenger.model, challenger.recipe):
            continue
        if same_data or challenger.recipe != champion.recipe:
            same = "recipe and data" if same_data else "recipe"
            return (
                f"version {version.number}, with the same {same}, was rolled back on {rolled_back:%Y-%m-%d}, so the "
                "challenger must be better than the champion, or a person must promote it by number"
            )
    return ""


def _check_data_age(champion: Version, challenger: Version, market: MarketData) -> list[GateCheck]:
    """A failed check if the challenger's log ends before the champion's, unless a person restored that older data."""
    ends, champion_ends = challenger.trained_until, champion.trained_until
    if market.restored or ends is None or champion_ends is None or ends >= champion_ends:
        return []
    reason = (
        f"the challenger's data ends at {ends:%Y-%m-%dT%H:%M:%S}, before the data of version {champion.number}, "
        f"which ends at {champion_ends:%Y-%m-%dT%H:%M:%S}"
    )
    return [GateCheck(False, reason)]


# -- the lists that a version was evaluated by


def stored_lists(lists: Lists, window: WindowTask) -> pa.Table:
    """The lists of a window's users in the form that is stored with a version: user_id, and item_ids, best first."""
    ids = np.append(window.log.items.ids, "")[lists]  # -1 means no item and picks the last, empty id
    item_ids = [[item_id for item_id in row if item_id] for row in ids.tolist()]
    return pa.table({"user_id": window.task.user_ids, "item_ids": pa.array(item_ids, pa.list_(pa.string()))})


def ndcg_of_stored_lists(stored: pa.Table, window: WindowTask) -> NDArray[np.float64]:
    """(n_users,) NDCG@10 of stored lists for a window's users, nan for a user without a stored list."""
    positions = {user_id: position for position, user_id in enumerate(stored["user_id"].to_pylist())}
    found = np.array([positions.get(user_id, -1) for user_id in window.task.user_ids.tolist()])
    ranked = np.full((len(found), K), -1, np.int32)
    lists = stored["item_ids"].to_pylist()
    for row, position in enumerate(found.tolist()):
        if position >= 0 and lists[position]:
            columns = window.log.items.rows(lists[position][:K])
            ranked[row, : len(columns)] = columns
    return np.where(found >= 0, window.ndcg(ranked), np.nan)


def release(registry: Registry, challenger: Version, decision: Decision) -> tuple[Version, bool, tuple[str, ...]]:
    """Promotes a challenger that passed the gate, unless the champion is pinned; stores the record in both cases.

    Returns the version that serves, whether it is the challenger, and the reasons.
    """
    dataset, reasons = challenger.dataset, decision.reasons
    pointer = registry.pointer(dataset)
    if decision.promote and not (pointer and pointer.pinned):
        return registry.promote(dataset, challenger.number, decision.record), True, reasons
    if pointer and pointer.pinned:
        reasons = (
            *reasons,
            f"version {pointer.version} is pinned; run `tradewind release unpin` to let other versions replace it",
        )
    record: GateRecord = {**decision.record, "reasons": list(reasons), "pinned": bool(pointer and pointer.pinned)}
    registry.set_tags(challenger, record_tags(record))
    return registry.champion(dataset) or challenger, False, reasons


def promote_evaluated(registry: Registry, dataset: str, number: int, force: str = "") -> Version:
    """Promotes a version that passed the gate, or any version if `force` gives a reason, which is stored.

    Raises ReleaseError if the version did not pass the gate, or was never evaluated by it, and no reason is given.
    """
    version = registry.version(dataset, number)
    record = version.gate_record or GateRecord()
    if not record.get("promote") and not force:
        why = "; ".join(record.get("reasons", [])) or "the gate has not evaluated it"
        raise ReleaseError(
            f"version {number} of {dataset} cannot be promoted: {why}; --force REASON promotes it against the gate"
        )
    if force:
        record = {**record, "forced": force}
    return registry.promote(dataset, number, record)
