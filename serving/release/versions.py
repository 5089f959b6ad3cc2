"""A registered version of a model, independent of the registry that stores it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

CHAMPION, PREVIOUS = "champion", "previous"
MODEL_TAG, HASH_TAG, BUNDLE_TAG, RECORD_TAG = "model", "bundle_sha256", "bundle_path", "gate_record"
ROLLED_BACK_TAG = "rolled_back_at"  # empty again once the recipe of the version was promoted again
REFIT_TAG = "refit"  # figures and checks of the refitted model, which would serve
LISTS_FILE = "evaluated_lists.parquet"  # in a version's run: the lists that its recipe was evaluated by
PREFIX = "tradewind"


def registered_name(dataset: str) -> str:
    """The registered name of a data set's model, which all its versions share."""
    return f"{PREFIX}-{dataset}"


@dataclass(frozen=True)
class Version:
    """One registered version. `model` is the model's name in the catalogue; `created` is UTC."""

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


def flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs of a dotted name and a value."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
