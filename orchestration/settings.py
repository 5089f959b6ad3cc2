"""Everything the platform can be told from outside, on top of what serving needs to know."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from dagster._utils.schedules import is_valid_cron_schedule
from pydantic import AfterValidator, ValidationError, model_validator

from recommenders.datasets.catalog import dataset, datasets
from recommenders.datasets.spec import DatasetSpec
from recommenders.datasets.store import TableStore
from recommenders.errors import ConfigurationError, DataError
from recommenders.storage.files import atomic_file
from recommenders.training.configuration import TrainingConfig
from serving.settings import PROJECT, AbsolutePath, Port, ServingSettings

DAGSTER_YAML = """\
# Written by `tradewind` where there was none; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false             # no dialog that asks for an e-mail address
concurrency:
  runs:
    max_concurrent_runs: 1   # models share the machine's cores; one training at a time
scheduler:
  module: dagster._core.scheduler
  class: DagsterDaemonScheduler
  config:
    max_catchup_runs: 1      # after a week off, one retraining is enough
"""

# Whose data set a command takes where none is named, the first that there is.
COMMANDS = {
    "run": "the one that `tradewind run` served last here",
    "train": "the one that was trained or evaluated last here",
}


def _cron(line: str) -> str:
    if not is_valid_cron_schedule(line):
        raise ValueError("allowed: a cron line such as '0 2 * * *' (minute, hour, day, month, weekday)")
    return line


Cron = Annotated[str, AfterValidator(_cron)]


class Settings(ServingSettings):
    """Settings of the whole platform; each can be set by an environment variable TRADEWIND_<NAME>."""

    dagster_port: Port = 3000
    evidently_port: Port = 5004
    config: AbsolutePath = PROJECT / "configs" / "training.yaml"
    datasets: AbsolutePath = PROJECT / "configs" / "datasets.yaml"  # the user's own data sets (docs/own-data.md)
    source: AbsolutePath | None = None  # files at hand for `dataset`
    real_data: AbsolutePath | None = None  # a folder with one folder a data set
    retrain_cron: Cron = "0 2 * * *"  # UTC
    drift_cron: Cron = "30 * * * *"  # UTC
    sensor_seconds: int = 60
    cool_down_hours: float = 6.0  # between two retrainings for the same cause

    @classmethod
    def read(cls, **given: Any) -> "Settings":
        """The settings of the environment, with the given values on top. Raises ConfigurationError in one line.

        The data set is the given one, else the environment's, else that of a given configuration file, else the one
        that this home served last, else the one it trained last, else the configured default. A source that the
        environment names for its data set is none of another one's.
        """
        return cls.read_named(**given)[0]

    @classmethod
    def read_named(cls, **given: Any) -> tuple["Settings", str]:
        """As read(), and who named the data set: an option, a variable, or what this home did last."""
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
            own = environment.dataset if "dataset" in environment.model_fields_set else settings.training.data.dataset
            source = source if dataset == own else None
        return settings.model_copy(update={"dataset": dataset, "source": source}), named_by

    def _choose(self, given: Mapping[str, Any], environment: "Settings") -> tuple[str, str]:
        """The data set, and who named it."""
        if "dataset" in given:
            return self.dataset, "--dataset"
        if "dataset" in environment.model_fields_set:
            return self.dataset, "TRADEWIND_DATASET"
        configured = self.training.data
        if "config" in given and "dataset" in configured.model_fields_set:
            return configured.dataset, "--config"
        known = _read(self._dataset_file)
        for command, what in COMMANDS.items():
            if command in known:
                return known[command], what
        return configured.dataset, "the configured default"

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = [self.dagster_port, self.service_port, self.mlflow_port, self.evidently_port]
        if len(set(ports)) < len(ports):
            got = ", ".join(map(str, ports))
            raise ValueError(f"the ports of Dagster, service, MLflow and Evidently must differ; got {got}")
        return self

    @cached_property
    def training(self) -> TrainingConfig:
        """The training configuration. Raises ConfigurationError."""
        return TrainingConfig.load(self.config)

    def of(self, name: str) -> "Settings":
        """The same settings for another data set; a source given for this one is not its source."""
        own = {"dataset": name, "source": None, "champion_file": None}
        return self if name == self.dataset else self.model_copy(update=own)

    @property
    def specs(self) -> Mapping[str, DatasetSpec]:
        """All data sets by name, the user's own too. Raises ConfigurationError where their file cannot be used."""
        return datasets(self.datasets)

    @property
    def spec(self) -> DatasetSpec:
        """The data set that is served."""
        return dataset(self.dataset, self.datasets)

    @property
    def lake(self) -> Path:
        """Tables, models and reports, one folder a data set."""
        return self.home / "lake"

    @property
    def tables(self) -> TableStore:
        """The data set's clean tables, every version of them."""
        return TableStore(self.lake / self.dataset / "tables")

    @property
    def workspace(self) -> Path:
        """Evidently's reports."""
        return self.home / "evidently"

    @property
    def logs(self) -> Path:
        """What the services and the alerts write."""
        return self.home / "logs"

    @property
    def alerts(self) -> Path:
        """One JSON line an alert."""
        return self.logs / "alerts.jsonl"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance; created with telemetry off on first use."""
        home = self.home / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text(DAGSTER_YAML)
        return home

    @property
    def urls(self) -> dict[str, str]:
        """Where a person looks."""
        ports = {
            "dagster": self.dagster_port,
            "service": self.service_port,
            "mlflow": self.mlflow_port,
            "evidently": self.evidently_port,
        }
        urls = {name: f"http://{self.host}:{port}" for name, port in ports.items()}
        return urls | {"mlflow": self.mlflow_url}

    def environment(self) -> dict[str, str]:
        """What a process of the platform needs in its environment to read these same settings."""
        ours = {name: "" if value is None else str(value) for name, value in self.model_dump().items()}
        return {f"TRADEWIND_{name.upper()}": value for name, value in ours.items()} | {
            "DAGSTER_HOME": str(self.dagster_home)
        }

    # -- where a data set's files lie

    def source_of(self, spec: DatasetSpec) -> Path:
        """The folder or file a data set is read from. Raises DataError with what to do where there is none.

        In this order: the source given for this run, the one given last (remembered below home), the folder of the
        user's YAML file, a folder below TRADEWIND_REAL_DATA; what the project makes or pulls has its own place.
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
            f"{spec.name}: no files are known; say `tradewind data fetch {spec.name}`,"
            f" or give --source PATH with {spec.layout}"
        )

    def prepare_source(self) -> Path:
        """Where the data set is read from; what is made or pulled comes there first, unless files are given."""
        spec = self.spec
        source = self.source_of(spec)
        if spec.generator and self.source is None:
            spec.make(source, self.training.data.scale, self.training.data.seed)
        return source

    def remember_source(self) -> None:
        """Keeps the source given for this run, so that sensors and schedules find it later."""
        if self.source is not None:
            _add(self._sources_file, self.dataset, str(self.source))

    def remember_dataset(self, command: str) -> None:
        """Keeps the data set of a `run` or a `train`, which later commands then take where none is named."""
        _add(self._dataset_file, command, self.dataset)

    @property
    def _sources_file(self) -> Path:
        return self.home / "sources.json"

    @property
    def _dataset_file(self) -> Path:
        return self.home / "dataset.json"


def _read(file: Path) -> dict[str, str]:
    """What a file below home remembers; nothing where there is none yet."""
    if not file.exists():
        return {}
    known: dict[str, str] = json.loads(file.read_text())
    return known


def _add(file: Path, name: str, value: str) -> None:
    """Remembers one more value, in one step."""
    known = _read(file) | {name: value}
    with atomic_file(file) as staging:
        staging.write_text(json.dumps(known, indent=2))
