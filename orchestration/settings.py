"""The settings of the whole platform, in addition to those of serving."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from monitoring.alerts.dispatcher import AlertDispatcher
from orchestration.setting_types import Cron, Weights
from recommenders.datasets.all_datasets import DATASETS, dataset, datasets
from recommenders.datasets.spec import DatasetSpec
from recommenders.datasets.store import TableStore
from recommenders.errors import ConfigurationError, DataError
from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.feedback_files import FeedbackFiles
from recommenders.training.configuration import TrainingConfig
from serving.settings import PROJECT, AbsolutePath, Port, ServingSettings

DAGSTER_YAML = """\
# Written by `tradewind` if it does not exist; you may change it.
telemetry:
  enabled: false
nux:
  enabled: false             # no dialog that asks for an e-mail address
concurrency:
  runs:
    max_concurrent_runs: 1   # models use all cores; one training at a time
scheduler:
  module: dagster._core.scheduler
  class: DagsterDaemonScheduler
  config:
    max_catchup_runs: 1      # after a week without the daemon, one retraining is enough
"""

# Commands whose last data set is used where none is named; the first entry that exists counts.
COMMANDS = {
    "run": "the one that `tradewind run` served last here",
    "train": "the one that was trained or evaluated last here",
}


class Settings(ServingSettings):
    """Settings of the whole platform; each can be set by an environment variable TRADEWIND_<NAME>."""

    dagster_port: Port = 3000
    evidently_port: Port = 5004
    metrics_port: Port = 5005  # of the figures for Prometheus (docs/metrics.md)
    config: AbsolutePath = PROJECT / "configs" / "training.yaml"
    changes: tuple[str, ...] = ()  # of the configuration, as the option --set gives them
    datasets: AbsolutePath = PROJECT / "configs" / "datasets.yaml"  # custom data sets (docs/custom-data.md)
    source: AbsolutePath | None = None  # file or folder with the files of `dataset`
    alerts_file: AbsolutePath = PROJECT / "configs" / "alerts.yaml"  # channels and policy of alerts (docs/alerts.md)
    tuning_url: str = ""  # of the studies of tunings; default: SQLite below home
    outbox_url: str = ""  # of alerts; default: SQLite below home
    retention_file: AbsolutePath = PROJECT / "configs" / "retention.yaml"  # how much is kept (docs/operations.md)
    real_data: AbsolutePath | None = None  # a folder with one folder per data set
    retrain_cron: Cron = "0 2 * * *"  # UTC
    click_hours: float = Field(default=24.0, gt=0)  # in which a click may belong to a list
    purchase_days: float = Field(default=7.0, gt=0)  # in which a purchase may belong to a list
    session_minutes: float = Field(default=30.0, gt=0)  # without an event, that end a session
    drift_cron: Cron = "30 * * * *"  # UTC
    prune_cron: Cron = "0 4 * * *"  # UTC
    tune_cron: Cron = "0 5 * * 6"  # UTC
    sensor_seconds: int = 60
    cool_down_hours: float = 6.0  # between two retrainings that monitoring starts
    max_age_days: float | None = 30.0  # of newer data that the champion was not trained on; None: no limit
    feedback_weights: Weights = {}  # of `dataset`, if it is a built-in one; kind of event -> weight
    feedback_share: float = Field(default=0.05, gt=0)  # of new feedback in the log, that starts a retraining

    @classmethod
    def read(cls, **given: Any) -> "Settings":
        """The settings of the environment, replaced by the given values. Raises ConfigurationError in one line.

        The data set is the given one, else the environment's, else that of a given configuration file, else the one
        that this home served last, else the one it trained last, else the configured default. A source in the
        environment belongs to the data set of the environment, and to no other data set.
        """
        return cls.read_named(**given)[0]

    @classmethod
    def read_named(cls, **given: Any) -> tuple["Settings", str]:
        """As read(), and the origin of the data set: an option, a variable, or the last command in this home."""
        given = {name: value for name, value in given.items() if value is not None}
        try:
            settings, environment = cls(**given), cls()
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:
                raise ConfigurationError(first["msg"].removeprefix("Value error, ")) from None
            name = "TRADEWIND_" + "_".join(str(part) for part in first["loc"]).upper()
            raise ConfigurationError(f"{name}: got {first['input']!r}; {first['msg']}") from None
        dataset, named_by = settings._choose(given, environment)
        source = settings.source
        if source is not None and "source" not in given:
            configured = (
                environment.dataset if "dataset" in environment.model_fields_set else settings.training.data.dataset
            )
            source = source if dataset == configured else None
        return settings.model_copy(update={"dataset": dataset, "source": source}), named_by

    def _choose(self, given: Mapping[str, Any], environment: "Settings") -> tuple[str, str]:
        """The data set, and its origin."""
        if "dataset" in given:
            return self.dataset, "--dataset"
        if "dataset" in environment.model_fields_set:
            return self.dataset, "TRADEWIND_DATASET"
        configured = self.training.data
        if "config" in given and "dataset" in configured.model_fields_set:
            return configured.dataset, "--config"
        stored = _read(self._dataset_file)
        for command, what in COMMANDS.items():
            if command in stored:
                return stored[command], what
        return configured.dataset, "the configured default"

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = [self.dagster_port, self.service_port, self.mlflow_port, self.evidently_port, self.metrics_port]
        if len(set(ports)) < len(ports):
            got = ", ".join(map(str, ports))
            raise ValueError(f"the ports of Dagster, service, MLflow, Evidently and metrics must differ; got {got}")
        return self

    @cached_property
    def training(self) -> TrainingConfig:
        """The training configuration. Raises ConfigurationError."""
        return TrainingConfig.load(self.config, self.changes)

    def for_dataset(self, name: str) -> "Settings":
        """The same settings for another data set, without the source given for this one."""
        changes: dict[str, Any] = {"dataset": name, "source": None, "champion_file": None, "feedback_weights": {}}
        return self if name == self.dataset else self.model_copy(update=changes)

    @property
    def specs(self) -> Mapping[str, DatasetSpec]:
        """All data sets by name, custom ones too. Raises ConfigurationError if the file of these is not valid."""
        return datasets(self.datasets)

    @property
    def spec(self) -> DatasetSpec:
        """The data set that is served. The feedback of a custom one is declared in its entry, not by the setting."""
        found = dataset(self.dataset, self.datasets)
        if self.feedback_weights and self.dataset in DATASETS:
            return replace(found, feedback=self.feedback_weights)
        return found

    @property
    def lake(self) -> Path:
        """The folder of tables, models and reports, with one folder per data set."""
        return self.home / "lake"

    @property
    def tables(self) -> TableStore:
        """The store of all versions of the data set's clean tables."""
        return TableStore(self.lake / self.dataset / "tables")

    @property
    def feedback_files(self) -> FeedbackFiles:
        """The feedback events of the data set that were read from the feedback store."""
        return FeedbackFiles(self.home / "feedback" / self.dataset)

    @property
    def workspace(self) -> Path:
        """The folder of Evidently's reports."""
        return self.home / "evidently"

    @property
    def logs(self) -> Path:
        """The folder of the logs of services and alerts."""
        return self.home / "logs"

    @property
    def tuning_folder(self) -> Path:
        """The folder of the data set's tunings: locks, checkpoints, and the configuration with the best values."""
        return self.home / "tuning" / self.dataset

    @property
    def studies(self) -> str:
        """The address of the database of the studies of all data sets."""
        return self.tuning_url or f"sqlite:///{self.home / 'tuning' / 'studies.db'}"

    @property
    def outbox(self) -> str:
        """The address of the outbox of alerts."""
        return self.outbox_url or f"sqlite:///{self.home / 'alerts' / 'outbox.db'}"

    @cached_property
    def alerts(self) -> AlertDispatcher:
        """The alerts: a caller sends one by settings.alerts.send(Alert(...))."""
        return AlertDispatcher(self.outbox, self.alerts_file, self.logs / "alerts.jsonl")

    @property
    def dagster_home(self) -> Path:
        """The folder of Dagster's instance; created without telemetry on first use."""
        home = self.home / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text(DAGSTER_YAML)
        return home

    @property
    def urls(self) -> dict[str, str]:
        """The addresses of the web pages by name."""
        ports = {
            "dagster": self.dagster_port,
            "service": self.service_port,
            "mlflow": self.mlflow_port,
            "evidently": self.evidently_port,
            "metrics": self.metrics_port,
        }
        urls = {name: f"http://{self.host}:{port}" for name, port in ports.items()}
        return urls | {"mlflow": self.mlflow_url}

    def environment(self) -> dict[str, str]:
        """The environment variables with which a process of the platform reads the same settings."""
        values = {name: _as_text(value) for name, value in self.model_dump().items()}
        return {f"TRADEWIND_{name.upper()}": value for name, value in values.items()} | {
            "DAGSTER_HOME": str(self.dagster_home)
        }

    # -- the files of a data set

    def source_of(self, spec: DatasetSpec) -> Path:
        """The folder or file a data set is read from. Raises DataError with a fix where there is none.

        In this order: the source given for this run, the one given last (stored below home), the folder of the user's
        YAML file, a folder below TRADEWIND_REAL_DATA. Generated or downloaded files have their own folder.
        """
        if self.source and spec.name == self.dataset:
            return self.source
        if spec.generator:
            return self.home / "sources" / spec.name
        if remembered := _read(self._sources_file).get(spec.name):
            return Path(remembered)
        if spec.folder:
            return spec.folder
        if self.real_data and (folder := self.real_data / (spec.real_data_folder or spec.name)).exists():
            return folder
        raise DataError(
            f"{spec.name}: no files are known; run `tradewind data fetch {spec.name}`,"
            f" or give --source PATH with {spec.layout}"
        )

    def prepare_source(self) -> Path:
        """The source of the data set, after files are generated or downloaded there, unless a source is given."""
        spec = self.spec
        source = self.source_of(spec)
        if spec.generator and self.source is None:
            spec.make(source, self.training.data.scale, self.training.data.seed)
        return source

    def remember_source(self) -> None:
        """Stores the source given for this run, so that sensors and schedules find it later."""
        if self.source is not None:
            _add(self._sources_file, self.dataset, str(self.source))

    def remember_dataset(self, command: str) -> None:
        """Stores the data set of a `run` or a `train` for later commands that name none."""
        _add(self._dataset_file, command, self.dataset)

    @property
    def _sources_file(self) -> Path:
        return self.home / "sources.json"

    @property
    def _dataset_file(self) -> Path:
        return self.home / "dataset.json"


def _as_text(value: Any) -> str:
    if isinstance(value, dict | tuple):
        return json.dumps(value)
    return "" if value is None else str(value)


def _read(file: Path) -> dict[str, str]:
    """The stored values of a file below home; empty if there is no file yet."""
    if not file.exists():
        return {}
    stored: dict[str, str] = json.loads(file.read_text())
    return stored


def _add(file: Path, name: str, value: str) -> None:
    """Stores one more value, in one step."""
    stored = _read(file) | {name: value}
    with atomic_file(file) as staging:
        staging.write_text(json.dumps(stored, indent=2))
