"""A registered version of a model, independent of the registry that stores it.

A registry stores tags, which are text. Only this module knows their names and forms: Version reads them with their
types, the functions below write them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from recommenders.evaluation.statistics.report_values import Metrics
from recommenders.storage.feedback_position import Position
from serving.release.gate import GateCheck, GateRecord

CHAMPION, PREVIOUS = "champion", "previous"
MODEL_TAG, HASH_TAG, BUNDLE_TAG = "model", "bundle_sha256", "bundle_path"
RECORD_TAG = "gate_record"
ROLLED_BACK_TAG = "rolled_back_at"  # empty again once the recipe of the version was promoted again
PROMOTED_TAG = "promoted_at"
PRUNED_TAG = "pruned_at"
EVALUATION_TAG = "evaluation"  # metrics of its recipe on the test window
CONFIGURATION_TAG = "configuration"
REFIT_TAG = "refit"  # figures and checks of the refitted model, which would serve
LISTS_FILE = "evaluated_lists.parquet"  # in a version's run: the lists that its recipe was evaluated by
PREFIX = "tradewind"


def registered_name(dataset: str) -> str:
    """The registered name of a data set's model, which all its versions share."""
    return f"{PREFIX}-{dataset}"


@dataclass(frozen=True)
class Version:
    """One registered version. `model` is the name of the model; `created` is UTC.

    A value whose tag is missing, because another program or older code registered the version, is "" or None.
    """

    dataset: str
    number: int
    run_id: str
    model: str
    aliases: tuple[str, ...]
    created: datetime
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The registered name of its model."""
        return registered_name(self.dataset)

    @property
    def recipe(self) -> str:
        """The recipe that it was fitted by."""
        return self.tags.get("recipe", "")

    @property
    def data_version(self) -> str:
        """The data version of the log that it was fitted on."""
        return self.tags.get("data_version", "")

    @property
    def protocol(self) -> str:
        """The protocol that its recipe was evaluated under, as text."""
        return self.tags.get("protocol", "")

    @property
    def trained_until(self) -> datetime | None:
        """The time of the last event that it was fitted on, UTC."""
        return _time(self.tags.get("trained_until", ""))

    @property
    def feedback_position(self) -> Position | None:
        """The last feedback event that it was fitted on; None: on none."""
        return Position.from_provenance(self.tags)

    @property
    def bundle_sha256(self) -> str:
        """The hash of its bundle; "" if it has none."""
        return self.tags.get(HASH_TAG, "")

    @property
    def bundle_path(self) -> str:
        """The path of its bundle among the artifacts of its run."""
        return self.tags.get(BUNDLE_TAG, "")

    @property
    def promoted_at(self) -> datetime | None:
        """When it last became the champion, UTC; None if it never served."""
        return _time(self.tags.get(PROMOTED_TAG, ""))

    @property
    def rolled_back_at(self) -> datetime | None:
        """When it was rolled back, UTC; None also once its recipe was promoted again."""
        return _time(self.tags.get(ROLLED_BACK_TAG, ""))

    @property
    def pruned_at(self) -> datetime | None:
        """When the deletion of its files began, UTC; None if it has its files."""
        return _time(self.tags.get(PRUNED_TAG, ""))

    @property
    def gate_record(self) -> GateRecord | None:
        """What the gate found; None if it has not evaluated the version."""
        record: GateRecord | None = json.loads(self.tags.get(RECORD_TAG, "null"))
        return record

    @property
    def evaluation(self) -> Metrics:
        """The metrics of its recipe on the test window; {} if they are unknown."""
        metrics: Metrics = json.loads(self.tags.get(EVALUATION_TAG, "{}"))
        return metrics

    @property
    def refit_checks(self) -> list[GateCheck]:
        """The checks of the refitted model; none if they are unknown."""
        return [GateCheck(**check) for check in json.loads(self.tags.get(REFIT_TAG, "{}")).get("findings", [])]


def training_tags(
    provenance: Mapping[str, Any], configuration: str, evaluation: Metrics, refit: Mapping[str, Any]
) -> dict[str, str]:
    """The tags of a new version: provenance, configuration (JSON), evaluation of its recipe, record of the refit."""
    return {
        **{key: str(value) for key, value in provenance.items() if key != "run_id"},
        CONFIGURATION_TAG: configuration,
        EVALUATION_TAG: json.dumps(evaluation),
        REFIT_TAG: json.dumps(refit),
    }


def bundle_tags(model: str, sha256: str, path: str = "") -> dict[str, str]:
    """The tags that name the bundle of a version. path: among the artifacts of its run."""
    return {MODEL_TAG: model, HASH_TAG: sha256, **({BUNDLE_TAG: path} if path else {})}


def record_tags(record: GateRecord) -> dict[str, str]:
    """The tag with the gate's record."""
    return {RECORD_TAG: json.dumps(record, default=str)}


def promoted_tags(at: datetime) -> dict[str, str]:
    """The tag with the time of a promotion."""
    return {PROMOTED_TAG: at.isoformat(timespec="seconds")}


def pruned_tags(at: datetime) -> dict[str, str]:
    """The tag that marks a version whose files are deleted."""
    return {PRUNED_TAG: at.isoformat(timespec="seconds")}


def rolled_back_tags(at: datetime | None) -> dict[str, str]:
    """The tag that marks a rollback; None removes the mark."""
    return {ROLLED_BACK_TAG: at.isoformat(timespec="seconds") if at else ""}


def _time(text: str) -> datetime | None:
    """The time of an ISO text, UTC where it names no zone; None of an empty text."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
