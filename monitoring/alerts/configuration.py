"""The configuration of alerts: reads configs/alerts.yaml into a frozen typed class."""

from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from monitoring.alerts.alert import Severity
from recommenders.errors import ConfigurationError, choices

LOG = "log"  # the channel that is always there: a line in the file of alerts, and in the logger
STRICT = ConfigDict(frozen=True, extra="forbid")
MAX_SHOWN = 60  # characters of a wrong value in a message


class ChannelConfig(BaseModel):
    """Where alerts are sent: the URL of a service, as Apprise reads it."""

    model_config = STRICT | ConfigDict(hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    url: Annotated[str, Field(min_length=1, repr=False)]  # ${NAME} in it is replaced by an environment variable
    minimum: Severity = "warning"  # alerts below it are not sent to this channel

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == LOG:
            raise ValueError(f"allowed: any other name; {LOG} is the channel that is always there")
        return name


class QuietHours(BaseModel):
    """The hours of the day in which only critical alerts are sent. They may include midnight."""

    model_config = STRICT

    begin: time
    end: time
    time_zone: str = "UTC"

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _clock(cls, given: Any) -> Any:
        # YAML 1.1 reads 22:00 without quotes as the number 1320
        if not isinstance(given, str):
            raise ValueError('allowed: a time in quotes, such as "22:00"')
        return given

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones():
            nearest = choices(name, available_timezones()).partition("; ")[2]
            raise ValueError(f"allowed: a name of the tz database, such as Europe/Berlin; {nearest}".rstrip("; "))
        return name

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.begin == self.end:
            raise ValueError("allowed: a begin that differs from the end")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of begin and end."""
        return ZoneInfo(self.time_zone)


class RetryConfig(BaseModel):
    """When a message that a channel did not accept is sent again: after waits that double, up to a longest one."""

    model_config = STRICT

    attempts: Annotated[int, Field(ge=1, le=1000)] = 30
    first_seconds: Annotated[float, Field(gt=0)] = 30
    longest_seconds: Annotated[float, Field(gt=0)] = 3600


class AlertConfig(BaseModel):
    """The whole file; every key is optional."""

    model_config = STRICT

    channels: tuple[ChannelConfig, ...] = ()
    group_seconds: Annotated[float, Field(ge=0, le=3600)] = 30  # 0: each alert is a message of its own
    per_hour: Annotated[int | None, Field(ge=1)] = 20  # messages of a channel; null: no limit
    reminder_hours: Annotated[float, Field(gt=0)] = 20  # below a day, so that a nightly failure is reported each day
    quiet_hours: QuietHours | None = None
    runbooks: str = "docs/alerts.md"  # page of the runbooks, a path or an address
    retry: RetryConfig = RetryConfig()

    @classmethod
    def load(cls, path: Path) -> Self:
        """The configuration in a YAML file. Raises ConfigurationError with a message of one line, without URLs."""
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}; see docs/alerts.md") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)  # the whole error may quote a URL
            where = f", line {mark.line + 1}" if mark else ""
            raise ConfigurationError(f"{path}{where}: not YAML; correct the line, see docs/alerts.md") from None
        if content is not None and not isinstance(content, dict):
            got, allowed = type(content).__name__, ", ".join(cls.model_fields)
            raise ConfigurationError(f"{path}: got a {got}; allowed: the keys {allowed}; correct the file")
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            raise ConfigurationError(f"{path}: {_fault(error)}") from None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [channel.name for channel in self.channels]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"channels: got {', '.join(twice)} twice; allowed: each name once; rename one")
        return self

    @property
    def reminder(self) -> timedelta:
        """The time after which an incident that goes on is reported again."""
        return timedelta(hours=self.reminder_hours)

    def minimums(self) -> dict[str, Severity]:
        """Name of each channel -> the lowest severity that it gets; the log gets all."""
        return {LOG: "info", **{channel.name: channel.minimum for channel in self.channels}}


def _fault(error: ValidationError) -> str:
    """The first fault: the key, what was got, what is allowed, and the fix."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(step + 1) if isinstance(step, int) else step for step in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key; allowed: the keys in docs/alerts.md; correct the key"
    if first["type"] == "missing":
        return f"{key}: got nothing; allowed: a value; add the key"
    allowed = message if message.startswith("allowed") else f"allowed: {message.removeprefix('Input should be ')}"
    return f"{key}: got {_shown(first)}; {allowed}; correct the value"


def _shown(fault: Any) -> str:
    """The value of a fault; never a part of a URL."""
    if "url" in fault["loc"] or isinstance(fault["input"], dict | list):
        return f"a {type(fault['input']).__name__}"
    text = repr(fault["input"])
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
