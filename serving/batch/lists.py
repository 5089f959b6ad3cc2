"""Makes batch lists with the functions of POST /predict, and counts what they hold."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from recommenders.errors import DataError
from serving.batch.files import WRITERS
from serving.batch.options import BatchOptions, Format, faults_of
from serving.batch.source import Source
from serving.endpoints.list_making import Made, eligible_items, make_at
from serving.web.answers import UnavailableError
from serving.web.predict_request import PredictRequest, as_text
from serving.web.validation import InvalidRequestError


@dataclass(frozen=True)
class MadeFrom:
    """What lists were made from, as it is stored with them. Versions are hashes; empty: no rules, no catalogue."""

    dataset: str
    model: str
    version: int
    rules_version: str
    catalogue_version: str
    moment: str  # ISO 8601, UTC
    scene: str
    n: int
    fields: Sequence[str]
    filters: dict[str, Any]
    with_rules: bool


@dataclass
class Counts:
    """What the lists hold."""

    users: int = 0
    lists: int = 0  # that are not empty
    rows: int = 0
    unknown_items: int = 0  # of histories, that the model does not know
    strategies: Counter[str] = field(default_factory=Counter)  # lists of each
    rules: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # as in /metrics

    def add(self, made: Made) -> None:
        """Counts a list."""
        prediction = made.prediction
        self.users += 1
        self.rows += len(made.items)
        self.unknown_items += len(prediction.unknown_items)
        if made.items:
            self.lists += 1
            self.strategies[prediction.strategy] += 1
        for rule, effects in prediction.effects.items():
            self.rules[rule].update(effects)


@dataclass(frozen=True)
class BatchSummary(MadeFrom):
    """What was written: what the lists were made from, the counts, and the file."""

    users: int
    lists: int
    rows: int
    unknown_items: int
    strategies: dict[str, int]
    rules: dict[str, dict[str, int]]
    problems: Sequence[str]  # why something newer was not used
    file: str
    bytes: int


def write_lists(
    source: Source, options: BatchOptions, requests: Iterable[PredictRequest], output: Path, format_: Format = "parquet"
) -> BatchSummary:
    """Writes the list of each request to a file, which is replaced when all are made. requests: by these options.

    Raises ConfigurationError for options that the catalogue does not fit, DataError for fields and filters without a
    catalogue; and what the requests raise.
    """
    champion = source.champion
    check(source, options)
    made_from, counts = _made_from(source, options), Counts()
    kinds = {name: champion.items.kinds[name] for name in made_from.fields} if champion.items else {}
    with threadpool_limits(1), WRITERS[format_](output, kinds, asdict(made_from)) as rows:  # one thread: as served
        for asked in requests:
            user_id = as_text(asked.user_id)
            recent, since = source.recent_items(user_id), source.erased_at(user_id)
            made = make_at(champion, asked, "", "", recent, source.clock, since)
            counts.add(made)
            rows.add(user_id, made.prediction.strategy, made.items)
    counted = {**vars(counts), "strategies": dict(counts.strategies)}
    counted["rules"] = {rule: dict(effects) for rule, effects in counts.rules.items()}
    written: dict[str, Any] = {"problems": source.problems, "file": str(output), "bytes": output.stat().st_size}
    return BatchSummary(**vars(made_from), **counted, **written)


def check(source: Source, options: BatchOptions) -> None:
    """Raises ConfigurationError if the options do not fit the catalogue, DataError if they need one and it is None."""
    try:
        eligible_items(source.champion.items, options.request())
    except InvalidRequestError as error:
        raise faults_of(error) from error
    except UnavailableError as error:
        raise DataError(
            f"batch fields and filters: {source.champion.pointer.dataset} has no served catalogue; allowed without "
            "one: neither; materialise the asset served_catalogue"
        ) from error


def _made_from(source: Source, options: BatchOptions) -> MadeFrom:
    champion, asked = source.champion, options.request()
    pointer = champion.pointer
    rules = champion.rules.version if champion.rules else ""
    catalogue = champion.items.version if champion.items else ""
    moment = datetime.fromtimestamp(source.clock / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    made_by = (pointer.dataset, pointer.model, pointer.version, rules, catalogue, moment)
    made_for = (asked.scene, asked.n_recommendations, asked.fields, dict(asked.filters))
    return MadeFrom(*made_by, *made_for, source.with_rules)
