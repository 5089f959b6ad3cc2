"""The training configuration: one YAML file, one frozen typed class."""

import hashlib
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recommenders.errors import ConfigurationError, UnknownNameError, choices
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.models.catalog import MODELS
from recommenders.models.collaborative_filtering.model import CollaborativeFilteringConfig
from recommenders.models.content_based import ContentBasedConfig
from recommenders.models.ease import EASEConfig
from recommenders.models.ensembles.hybrid import HybridConfig
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ials.model import IALSConfig
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.popularity import PopularityConfig
from recommenders.models.recommender import ModelConfig
from recommenders.models.repurchase import RepurchaseConfig
from recommenders.training.code_fingerprint import code_fingerprint

STRICT = ConfigDict(frozen=True, extra="forbid")
RUN_TIME = {"enabled", "threads", "n_threads", "max_memory_mb", "max_minutes"}  # how a fit is run, not what is learned


class DataConfig(BaseModel):
    """What is learned from, and how much of it at a time."""

    model_config = STRICT

    dataset: str = "custom_b2b"
    batch_size: int = Field(default=1024, ge=1)
    validation_split: float = Field(default=0.2, gt=0, lt=1)  # share, where no window is declared
    scale: float = Field(default=1.0, gt=0)  # size of a data set that the project makes itself
    seed: int = 42


class ModelsConfig(BaseModel):
    """One section a model."""

    model_config = STRICT

    popularity: PopularityConfig = PopularityConfig()
    content_based: ContentBasedConfig = ContentBasedConfig()
    collaborative_filtering: CollaborativeFilteringConfig = CollaborativeFilteringConfig()
    repurchase: RepurchaseConfig = RepurchaseConfig()
    ease: EASEConfig = EASEConfig()
    ials: IALSConfig = IALSConfig()
    sasrec: SASRecConfig = SASRecConfig()
    neural_collaborative: NeuralCollaborativeConfig = NeuralCollaborativeConfig()
    hybrid: HybridConfig = HybridConfig()
    hybrid_learned: HybridLearnedConfig = HybridLearnedConfig()


class TrainingConfig(BaseModel):
    """The whole file; every section may be left out."""

    model_config = STRICT

    data: DataConfig = DataConfig()
    models: ModelsConfig = ModelsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @classmethod
    def load(cls, path: Path | None = None) -> "TrainingConfig":
        """The configuration of a YAML file, or the defaults. Raises ConfigurationError in one line."""
        if path is None:
            return cls()
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}; see configs/training.yaml") from None
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
        if content is not None and not isinstance(content, dict):
            raise ConfigurationError(
                f"{path}: got a {type(content).__name__}; allowed: sections {', '.join(cls.model_fields)}"
            )
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            raise ConfigurationError(f"{path}: {_one_line(error)}") from None

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        if not self.models.popularity.enabled:
            raise ValueError(
                "models.popularity.enabled: got false; popularity is what every model is held against, keep it"
            )
        if self.models.hybrid.enabled:
            members = [name for name, weight in self.models.hybrid.model_weights.items() if weight > 0]
            if absent := [name for name in members if not self.section(name).enabled]:
                raise ValueError(
                    f"models.hybrid.model_weights: got {', '.join(absent)}, which is not enabled; "
                    "enable it or give it no weight"
                )
        if unknown := [name for name in self.evaluation.model_targets if name not in MODELS]:
            raise ValueError(f"evaluation.model_targets: unknown model {unknown[0]!r}; {choices(unknown[0], MODELS)}")
        return self

    def section(self, name: str) -> ModelConfig:
        """The section of a model as it is written. Raises UnknownNameError."""
        if name not in ModelsConfig.model_fields:
            raise UnknownNameError("model", name, MODELS)
        section: ModelConfig = getattr(self.models, name)
        return section

    def of(self, name: str) -> ModelConfig:
        """What a model is fitted with: its section, and the data section's values where it has fields for them."""
        section = self.section(name)
        shared = {
            "batch_size": self.data.batch_size,
            "validation_split": self.data.validation_split,
            "seed": self.data.seed,
        }
        inherited = {
            key: value
            for key, value in shared.items()
            if key in type(section).model_fields and key not in section.model_fields_set
        }
        return section.model_copy(update=inherited)

    def resolved(self, dataset: str | None = None) -> "TrainingConfig":
        """The same recipe with nothing inherited: written out and read again, it is still the same.

        dataset: what it was fitted on, where the call named another data set than the file.
        """
        sections = {name: self.of(name) for name in ModelsConfig.model_fields}
        data = self.data.model_copy(update={"dataset": dataset or self.data.dataset})
        return self.model_copy(update={"data": data, "models": self.models.model_copy(update=sections)})

    def enabled(self) -> list[str]:
        """The models to fit, members before the hybrid."""
        return [name for name in MODELS if self.section(name).enabled]

    def recipe(self) -> str:
        """A short hash of what decides how models come out on given data: their settings, and the code that trains.

        How a fit is run (threads, limits of time and memory) is not part of it.
        """
        sections = {name: self.of(name).model_dump_json(exclude=RUN_TIME) for name in self.enabled()}
        return hashlib.sha256(repr((sorted(sections.items()), code_fingerprint())).encode()).hexdigest()[:16]


def _one_line(error: ValidationError) -> str:
    """The first problem: key, got, allowed."""
    first: Any = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        owner: Any = TrainingConfig
        for part in place[:-1]:
            owner = owner.model_fields[part].annotation
        return f"unknown key {'.'.join(place)!r}; {choices(place[-1], owner.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(place)}: got {first['input']!r}; {message}" if place else message
