"""Everything that can go wrong in a way the user can mend.

TradewindError
├── ConfigurationError      a setting that cannot be used
│   ├── UnknownNameError    a name outside its catalogue
│   └── UnsuitableError     a model that cannot learn from this log; others can
│       ├── ModelTooLargeError  it would need more memory for fitting than it may take
│       └── NoFeaturesError     it learns from item features and got none
├── DataError               a source that cannot be read as what it claims to be
├── BundleError             a model on disk that is damaged or not ours
├── NotFittedError          a model asked before it learned
├── ReleaseError            a version that may not, or cannot, be released
├── RunFailedError          a run that a check or a service stopped (orchestration.launcher.runs)
└── ServiceError            a service that does not start or stay up (orchestration.launcher.supervisor)

Each message says what, got, allowed and fix, in one line.
"""

from collections.abc import Iterable
from difflib import get_close_matches


def choices(got: str, allowed: Iterable[str]) -> str:
    """The end of a message about a wrong name: all allowed names, and the nearest one if `got` resembles any."""
    names = sorted(allowed)
    nearest = get_close_matches(got, names, n=1)
    return f"choose from {', '.join(names)}" + (f"; did you mean {nearest[0]}?" if nearest else "")


class TradewindError(Exception):
    """Base of all errors that carry a message meant for the user."""


class ConfigurationError(TradewindError):
    """A setting that cannot be used."""


class UnknownNameError(ConfigurationError):
    """A name outside its catalogue; the message lists the names that exist, and the nearest one."""

    def __init__(self, kind: str, got: str, allowed: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {got!r}; {choices(got, allowed)}")


class UnsuitableError(ConfigurationError):
    """A model that cannot learn from this log, while others can: blends go on without it."""


class ModelTooLargeError(UnsuitableError):
    """A model that would need more memory for fitting than it may take."""

    def __init__(self, model: str, shape: tuple[int, int], needed_mb: float, allowed_mb: float) -> None:
        super().__init__(
            f"{model} on {shape[0]:,} users x {shape[1]:,} items would need {needed_mb:,.0f} MB; allowed: "
            f"{allowed_mb:,.0f}; raise models.{model}.max_memory_mb or set models.{model}.enabled: false"
        )


class NoFeaturesError(UnsuitableError):
    """A model that learns from item features, fitted without any."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} learns from item features and got none; pass features=encode_items(items, ids)")


class DataError(TradewindError):
    """A source that cannot be read as what it claims to be."""


class BundleError(TradewindError):
    """A model on disk that is damaged or not ours."""


class NotFittedError(TradewindError):
    """A model asked before it learned."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} has learned nothing yet; call fit(...) or load(...) first")


class ReleaseError(TradewindError):
    """A version that may not, or cannot, be released."""
