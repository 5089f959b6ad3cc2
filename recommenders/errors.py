"""The errors that a user can correct.

TradewindError
├── ConfigurationError      a setting that cannot be used
│   ├── UnknownNameError    a name that does not exist
│   └── UnsuitableError     a model that cannot be fitted on this log; other models can
│       ├── ModelTooLargeError  the fit would need more memory than the configured limit
│       └── NoFeaturesError     the model needs item features and got none
├── DataError               a source that does not have the expected format or content
├── BundleError             a model bundle that is damaged or was not written by this project
├── NotFittedError          a model that is used before fit() or load()
├── FirstProcessError       the first of several processes that train together raised an error
├── ReleaseError            a model version that must not, or cannot, be released
├── RunFailedError          a run that a check or a service stopped (orchestration.launcher.runs)
└── ServiceError            a service that does not start or does not stay up (orchestration.launcher.supervisor)

Each message states what is wrong, what was got, what is allowed and how to fix it, in one line.
"""

from collections.abc import Iterable
from difflib import get_close_matches


def choices(got: str, allowed: Iterable[str]) -> str:
    """The end of a message about a wrong name: all allowed names, and the most similar one if there is one."""
    names = sorted(allowed)
    nearest = get_close_matches(got, names, n=1)
    return f"choose from {', '.join(names)}" + (f"; did you mean {nearest[0]}?" if nearest else "")


class TradewindError(Exception):
    """Base of all errors that carry a message meant for the user."""


class ConfigurationError(TradewindError):
    """A setting that cannot be used."""


class UnknownNameError(ConfigurationError):
    """A name that does not exist; the message lists the existing names and the most similar one."""

    def __init__(self, kind: str, got: str, allowed: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {got!r}; {choices(got, allowed)}")


class UnsuitableError(ConfigurationError):
    """A model that cannot be fitted on this log, while others can: ensembles skip it."""


class ModelTooLargeError(UnsuitableError):
    """A model whose fit would need more memory than the configured limit."""

    def __init__(self, model: str, shape: tuple[int, int], needed_mb: float, allowed_mb: float) -> None:
        super().__init__(
            f"{model} on {shape[0]:,} users x {shape[1]:,} items would need {needed_mb:,.0f} MB; allowed: "
            f"{allowed_mb:,.0f}; raise fit.max_memory_mb or set models.{model}.enabled: false"
        )


class NoFeaturesError(UnsuitableError):
    """A model that needs item features, fitted without any."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} learns from item features and got none; pass features=encode_items(items, ids)")


class DataError(TradewindError):
    """A source that does not have the expected format or content."""


class BundleError(TradewindError):
    """A model bundle that is damaged or was not written by this project."""


class NotFittedError(TradewindError):
    """A model that is used before fit() or load()."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} is not fitted; call fit(...) or load(...) first")


class FirstProcessError(TradewindError):
    """The first of several processes that train together raised an error; the others raise this one."""

    def __init__(self, error: str) -> None:
        super().__init__(f"the first training process failed: got {error}; correct it there and start all again")


class ReleaseError(TradewindError):
    """A model version that must not, or cannot, be released."""
