"""The small facts that assets return and others read. The IO manager stores them as JSON."""

from dataclasses import dataclass

from monitoring.online.falls import QualityFall
from recommenders.datasets.store import Fingerprint
from recommenders.training.selection import CandidateChoice


@dataclass(frozen=True)
class RawDataset(Fingerprint):
    """The source of a data set. source: its folder or file, "" if an earlier version of the tables is restored.

    Its version is that of the files. Feedback that is added to the tables is no part of it.
    """

    dataset: str
    source: str


@dataclass(frozen=True)
class ReleaseCandidate:
    """The model for the gate. first: no version serves yet. choice: the choice on the validation window."""

    candidate: str
    first: bool
    choice: CandidateChoice


@dataclass(frozen=True)
class RegisteredModel:
    """A new version in MLflow: its number, the name of the model, and the recipe that it was fitted by."""

    dataset: str
    version: int
    model: str
    recipe: str


@dataclass(frozen=True)
class Champion:
    """The version that serves. promoted: it became the champion in this run."""

    dataset: str
    version: int
    model: str
    promoted: bool


@dataclass(frozen=True)
class QualityMonitor:
    """Whether the quality of the served lists fell with the champion's release, or while it served.

    version: the champion, None if there is none. silence: since when no event has come although lists are served, ""
    if that is not so.
    """

    dataset: str
    version: int | None
    release: QualityFall
    decay: QualityFall
    silence: str = ""
