"""Prunes every store by its limit, and reports what went, what stayed and why."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.retention.configuration import RetentionConfig
from orchestration.retention.stores import Store, stores_of_dataset, stores_of_platform
from orchestration.run_process import run_lock
from orchestration.settings import Settings
from recommenders.errors import ConfigurationError
from recommenders.storage.locks import locked
from recommenders.storage.retention import Pruned, what_to_prune
from serving.release.registry import Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreReport:
    """What a pruning found in a store and what went. dataset: "" for a store of the whole platform.

    protected: name -> why it stays. problem: why nothing was pruned, or not all; "" if nothing is wrong.
    """

    what: str
    dataset: str
    stored: int = 0
    pruned: tuple[Pruned, ...] = ()
    protected: dict[str, str] | None = None
    skipped: str = ""
    problem: str = ""

    @property
    def bytes(self) -> int:
        """The size of what went."""
        return sum(one.stored.bytes for one in self.pruned)

    def to_json(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        pruned = [{"name": one.stored.name, "bytes": one.stored.bytes, "reason": one.reason} for one in self.pruned]
        return {**asdict(self), "pruned": pruned, "protected": self.protected or {}, "bytes": self.bytes}


def prune(settings: Settings, instance: dg.DagsterInstance, dry_run: bool = False) -> list[StoreReport]:
    """Prunes all stores of all data sets; a dry run only reports what would go. Raises ConfigurationError.

    A data set that a run writes is skipped. A problem of one store is reported, and the others are pruned all the same.
    """
    limits = RetentionConfig.load(settings.retention_file)
    registry = Registry(settings)
    reports = []
    for name in _datasets(settings):
        of_dataset = settings.for_dataset(name)
        reports += _prune_dataset(of_dataset, stores_of_dataset(of_dataset, registry, limits), dry_run)
    reports += [prune_store(store, dry_run) for store in stores_of_platform(settings, instance, limits)]
    return reports


def prune_store(store: Store, dry_run: bool) -> StoreReport:
    """Prunes one store."""
    try:
        found, protected = store.found(), store.protected()
        pruned = what_to_prune(found, protected, store.limit, datetime.now(UTC))
        stay = {one.name: protected[one.name] for one in found if one.name in protected}
        report = StoreReport(store.what, store.dataset, len(found), tuple(pruned), stay)
        if pruned and not dry_run:
            store.delete([one.stored.name for one in pruned])
        return report
    except Exception as error:  # whatever the library of a store raises, the other stores are pruned
        log.exception("%s of %s were not pruned", store.what, store.dataset or "the platform")
        return StoreReport(store.what, store.dataset, problem=" ".join(str(error).split()))


def lines(reports: Sequence[StoreReport], dry_run: bool) -> Iterator[str]:
    """The reports for people: a line for each store that holds anything, and one for each thing that goes or stays."""
    verb = "would go" if dry_run else "deleted"
    for report in reports:
        what = f"{report.what} of {report.dataset}" if report.dataset else report.what
        if note := report.problem or report.skipped:
            yield f"{what}: {note}"
        elif report.stored:
            yield f"{what}: {len(report.pruned)} of {report.stored} {verb}, {report.bytes / 1e6:.1f} MB"
        for one in report.pruned:
            yield f"  {verb:<8}  {one.stored.name}  {one.stored.bytes / 1e6:.1f} MB: {one.reason}"
        for name, why in (report.protected or {}).items():
            yield f"  {'stays':<8}  {name}: {why}"


def _prune_dataset(settings: Settings, stores: Sequence[Store], dry_run: bool) -> list[StoreReport]:
    if dry_run:
        return [prune_store(store, dry_run) for store in stores]
    try:
        with locked(run_lock(settings.lake, settings.dataset), busy="skipped"):
            return [prune_store(store, dry_run) for store in stores]
    except ConfigurationError:
        why = "a run writes the data set; the next pruning includes it"
        return [StoreReport(store.what, store.dataset, skipped=why) for store in stores]


def _datasets(settings: Settings) -> list[str]:
    """The data sets that have a folder in the lake."""
    folder = settings.lake
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
