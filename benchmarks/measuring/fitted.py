"""Our models on a question's log, each fitted once and kept as a bundle: a cut run loses the one it was at."""

import shutil
import time
from pathlib import Path

from peers.environments import place

from measuring.kept import code_version, key_of
from measuring.questions import Question
from recommenders.errors import UnsuitableError
from recommenders.models.catalog import load
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import DECLINED, Declined, fit_model, members_of

KEPT_DAYS = 1.0  # bundles of other code than today's, some hundred MB a data set, go after that


def fitted(name: str, asked: Question, config: TrainingConfig) -> Recommender | Declined:
    """The model as its bundle holds it, fitted if there is none; what it is made of is fitted, and kept, before it."""
    folder = bundle_of(name, asked, config)
    return Declined.load(folder) if (folder / DECLINED).exists() else load(folder)


def bundle_of(name: str, asked: Question, config: TrainingConfig) -> Path:
    """The bundle's folder, or that of a Declined. Raises UnknownNameError."""
    folder = place() / "fitted" / code_version()[:16] / f"{name}-{fit_key(name, asked, config)}"
    if not folder.exists():
        if not folder.parent.exists():
            forget_older(folder.parents[1])
            folder.parent.mkdir(parents=True)
        _fit(name, asked, config).save(folder)
    return folder


def fit_key(name: str, asked: Question, config: TrainingConfig) -> str:
    """A short name of all that a fitted model depends on."""
    settings = [config.of(part).model_dump_json() for part in (name, *_parts(name, asked, config))]
    return key_of("fit", name, asked.key, code_version(), settings)


def _fit(name: str, asked: Question, config: TrainingConfig) -> Recommender | Declined:
    parts = {part: fitted(part, asked, config) for part in _parts(name, asked, config)}
    members = {part: model for part, model in parts.items() if isinstance(model, Recommender)}
    try:
        return fit_model(name, config, asked.log, members, asked.features)
    except UnsuitableError as error:
        return Declined(name, str(error))


def _parts(name: str, asked: Question, config: TrainingConfig) -> list[str]:
    return [part for part in members_of(name, config, asked.log) if config.section(part).enabled]


def forget_older(versions: Path, days: float = KEPT_DAYS) -> None:
    """Removes the versions of the code whose bundles are that old."""
    for folder in versions.glob("*"):
        if time.time() - folder.stat().st_mtime > days * 24 * 3600:
            shutil.rmtree(folder)
