"""The training configuration: reads a YAML file into a frozen typed class."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator

from recommenders.errors import ConfigurationError, UnknownNameError, choices
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.models.all_models import MODELS, QUICK, model_class
from recommenders.models.recommender import DEFAULT_OPTIONS, EpochCallback, ModelConfig, TrainingOptions
from recommenders.models.search_space import Dimension
from recommenders.training.changes import apply_change
from recommenders.training.code_fingerprint import code_fingerprint
from recommenders.training.renamed_keys import RENAMED_KEYS

INHERITED = ("batch_size", "validation_split", "seed")  # keys of the section data that a model may set, too
STRICT = ConfigDict(frozen=True, extra="forbid")


class DataConfig(BaseModel):
    """The training data, the batch size and the validation share."""

    model_config = STRICT

    dataset: str = Field(
        default="custom_b2b",
        description="Data set of a command, if `--dataset` and `TRADEWIND_DATASET` are not set. Unless `--config` "
        "names the file, this key is used only until a data set was served, trained or evaluated; later commands use "
        "that data set.",
    )
    batch_size: int = Field(
        default=1024,
        ge=1,
        description="Number of positives of a training step of `neural_collaborative`, without their negatives.",
    )
    validation_split: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the users whose latest visit is held out for early stopping of `neural_collaborative`.",
    )
    scale: float = Field(
        default=1.0,
        gt=0,
        description="Size of the simulated market; 1 is 2,000 users, 5,000 items and 25,000 orders. Users and orders "
        "grow with it, items with its square root.",
    )
    seed: int = Field(
        default=42, description="Seed of the simulated market, and of the models that set no seed of their own."
    )


class FitConfig(BaseModel):
    """How models are fitted. These settings are not part of the recipe."""

    model_config = STRICT

    threads: int | None = Field(
        default=None, ge=1, description="Number of threads of a fit; null: the number that suits each model, 1 or 2."
    )
    max_memory_mb: float = Field(
        default=DEFAULT_OPTIONS.max_memory_mb,
        gt=0,
        description="Memory limit of a fit in megabytes. A model that is estimated to need more is skipped.",
    )
    max_minutes: float = Field(
        default=DEFAULT_OPTIONS.max_minutes,  # a limit for slow machines
        gt=0,
        description="Time limit of the training of a network in minutes. The best epoch so far is kept; another run "
        "may keep another epoch.",
    )

    def options(self, on_epoch: EpochCallback | None = None, checkpoints: Path | None = None) -> TrainingOptions:
        """The options of a fit that reports its epochs and keeps checkpoints."""
        return TrainingOptions(**self.model_dump(), on_epoch=on_epoch, checkpoints=checkpoints)


if TYPE_CHECKING:

    class ModelsConfig(BaseModel):
        """One section per model."""

        def __getattr__(self, name: str) -> Any: ...

else:
    ModelsConfig = create_model(
        "ModelsConfig",
        __config__=STRICT,
        **{name: (model_class(name).Config, model_class(name).Config()) for name in MODELS},
    )


class TuningConfig(BaseModel):
    """What a tuning tries. This section is not part of the recipe."""

    model_config = STRICT

    spaces: dict[str, dict[str, Dimension]] = Field(
        default={},
        description="Search spaces: model, key and values. The values are `low` and `high`, with `log: true` for equal "
        "ratios, or `choices`. The space of a model here replaces the one that the model declares.",
    )

    @field_validator("spaces")
    @classmethod
    def _keys_exist(cls, spaces: dict[str, dict[str, Dimension]]) -> dict[str, dict[str, Dimension]]:
        for model, space in spaces.items():
            if model not in MODELS:
                raise ValueError(f"unknown model {model!r}; {choices(model, MODELS)}")
            fields = model_class(model).Config.model_fields
            if unknown := [key for key in space if key.partition(".")[0] not in fields]:
                raise ValueError(f"unknown key {model}.{unknown[0]}; {choices(unknown[0], fields)}")
        return spaces


class TrainingConfig(BaseModel):
    """The whole file; every section is optional."""

    model_config = STRICT

    data: DataConfig = DataConfig()
    models: ModelsConfig = ModelsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    fit: FitConfig = FitConfig()
    tuning: TuningConfig = TuningConfig()

    @classmethod
    def load(cls, path: Path | None = None, changes: Sequence[str] = ()) -> "TrainingConfig":
        """The configuration of a YAML file, or the defaults, with changes such as "models.ease.reg=300".

        Raises ConfigurationError with a message of one line.
        """
        content = read_file(path) if path else {}
        for change in changes:
            apply_change(content, change, cls)
        place = "; ".join([*([str(path)] if path else []), *(f"--set {change}" for change in changes)])
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigurationError(f"{place}: {_one_line(error)}") from None

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        if not self.models.popularity.enabled:
            raise ValueError(
                "models.popularity.enabled: got false; every model is compared with popularity; keep it enabled"
            )
        if self.models.hybrid.enabled:
            base_models = [name for name, weight in self.models.hybrid.model_weights.items() if weight > 0]
            if absent := [name for name in base_models if not self.section(name).enabled]:
                raise ValueError(
                    f"models.hybrid.model_weights: got {', '.join(absent)}, which is not enabled; "
                    "enable it or give it weight 0"
                )
        if unknown := [name for name in self.evaluation.model_targets if name not in MODELS]:
            raise ValueError(f"evaluation.model_targets: unknown model {unknown[0]!r}; {choices(unknown[0], MODELS)}")
        return self

    def section(self, name: str) -> ModelConfig:
        """The section of a model as in the file. Raises UnknownNameError."""
        if name not in ModelsConfig.model_fields:
            raise UnknownNameError("model", name, MODELS)
        section: ModelConfig = getattr(self.models, name)
        return section

    def fit_config(self, name: str) -> ModelConfig:
        """The configuration of a model's fit: its section, with unset fields inherited from the data section."""
        section = self.section(name)
        return section.model_copy(update={key: getattr(self.data, key) for key in self.inherited(name)})

    def inherited(self, name: str) -> list[str]:
        """The keys of a model's section that have the value of the same key in the section data."""
        section = self.section(name)
        return [key for key in INHERITED if key in type(section).model_fields and key not in section.model_fields_set]

    def resolved(self, dataset: str | None = None) -> "TrainingConfig":
        """The same recipe without inherited values, so that it stays the same when it is written and read again.

        dataset: the data set of the fit, if the call named another one than the file.
        """
        sections = {name: self.fit_config(name) for name in ModelsConfig.model_fields}
        data = self.data.model_copy(update={"dataset": dataset or self.data.dataset})
        return self.model_copy(update={"data": data, "models": self.models.model_copy(update=sections)})

    def enabled(self) -> list[str]:
        """The names of the enabled models, base models before ensembles."""
        return [name for name in MODELS if self.section(name).enabled]

    def changed(self, values: Mapping[tuple[str, ...], Any]) -> "TrainingConfig":
        """The same configuration with other values. values: key, as ("models", "ease", "reg") -> value.

        Without values it is this object. Raises ConfigurationError.
        """
        if not values:
            return self
        content = self.model_dump(exclude_unset=True)
        for key, value in values.items():
            node = content
            for part in key[:-1]:
                node = node.setdefault(part, {})
            node[key[-1]] = value
        try:
            return type(self).model_validate(content)
        except ValidationError as error:
            raise ConfigurationError(_one_line(error)) from None

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The named models, base models before ensembles, each once; all enabled models if no name is given.

        Raises UnknownNameError, or ConfigurationError for a model that is not enabled.
        """
        for name in names:
            if not self.section(name).enabled:
                raise ConfigurationError(
                    f"models: got {name}, which is not enabled; allowed: {', '.join(self.enabled())}; "
                    f"set models.{name}.enabled: true"
                )
        return [name for name in self.enabled() if not names or name in names]

    def quick(self) -> "TrainingConfig | None":
        """The same configuration with only those of its models that are fitted in seconds.

        None if there are no others, or if only popularity is one of them.
        """
        names = [name for name in self.enabled() if name in QUICK]
        if len(names) < 2 or names == self.enabled():
            return None
        sections = {name: self.section(name).model_copy(update={"enabled": name in names}) for name in MODELS}
        return self.model_copy(update={"models": self.models.model_copy(update=sections)})

    def is_provisional(self, recipe: str) -> bool:
        """Whether a recipe is the one of quick(), whose model serves only until all models are fitted."""
        quick = self.quick()
        return quick is not None and recipe == quick.recipe()

    def recipe(self) -> str:
        """A short hash of all that determines the fitted models on given data: their settings and the training code.

        How models are fitted (`fit`) is not part of it.
        """
        sections = {name: self.fit_config(name).model_dump_json(exclude={"enabled"}) for name in self.enabled()}
        return hashlib.sha256(repr((sorted(sections.items()), code_fingerprint())).encode()).hexdigest()[:16]


def read_file(path: Path) -> dict[str, Any]:
    """The content of a configuration file, not yet checked. Raises ConfigurationError."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; see configs/training.yaml") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is not None and not isinstance(content, dict):
        allowed = ", ".join(TrainingConfig.model_fields)
        raise ConfigurationError(f"{path}: got a {type(content).__name__}; allowed: sections {allowed}")
    return content or {}


def _one_line(error: ValidationError) -> str:
    """The first error: key, got, allowed."""
    first: Any = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        if key in RENAMED_KEYS:
            return f"unknown key {key!r}; it is called {RENAMED_KEYS[key]} now"
        owner: Any = TrainingConfig
        for part in place[:-1]:
            owner = owner.model_fields[part].annotation
        return f"unknown key {key!r}; {choices(place[-1], owner.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: got {first['input']!r}; {message}" if place else message
