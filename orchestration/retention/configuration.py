"""The limits of what is kept: reads configs/retention.yaml into a frozen typed class."""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommenders.errors import ConfigurationError, choices

# 20 is not "20" or true
Limit = Annotated[int | None, Field(ge=1, strict=True)]


class RetentionConfig(BaseModel):
    """How much is kept. Every key is optional; null keeps everything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    versions: Limit = Field(
        40, description="Number of versions of a data set: bundle, lists, and the MLflow run with its files."
    )
    bentos: Limit = Field(5, description="Number of Bentos of a data set.")
    snapshots: Limit = Field(200, description="Number of drift reports of a data set in Evidently.")
    tables_days: Limit = Field(
        90, description="Days for which a version of the clean tables is kept after a newer one has replaced it."
    )
    training_runs_days: Limit = Field(
        90, description="Days for which an MLflow run that belongs to no version is kept."
    )
    runs_days: Limit = Field(90, description="Days for which an ended run of Dagster is kept, with its logs.")
    alerts_days: Limit = Field(
        365, description="Days for which an incident is kept after its end, with its alerts and messages."
    )
    log_megabytes: Limit = Field(
        50, description="Size from which a file in `logs/` begins anew. Its old content is kept once, as `FILE.1`."
    )

    @classmethod
    def load(cls, path: Path) -> Self:
        """The limits in a YAML file. Raises ConfigurationError with a message of one line."""
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}; see docs/operations.md") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            why = " ".join(str(error).split())
            raise ConfigurationError(f"{path} is not YAML: {why}; correct the file") from None
        if content is not None and not isinstance(content, dict):
            allowed = f"allowed: the keys {', '.join(cls.model_fields)}; correct the file"
            raise ConfigurationError(f"{path}: got a {type(content).__name__}; {allowed}")
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            raise ConfigurationError(f"{path}: {_fault(error)}") from None


def _fault(error: ValidationError) -> str:
    """The first fault: the key, what was got, what is allowed, and the fix."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key; {choices(key, RetentionConfig.model_fields)}; correct the key"
    return f"{key}: got {first['input']!r}; allowed: a whole number, 1 or more, or null; correct the value"
