"""`tradewind evaluate`: a data set of the catalogue by its own protocol, or files with a split of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.cli.options import check_config, say, settings_of
from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.metrics.ranking import K


def of_dataset(dataset: str | None, source: Path | None, config: Path | None) -> tuple[dict[str, Any], str]:
    """The report on a data set's test window, as JSON and as a page; fits the models where they are not."""
    from orchestration.launcher import platform
    from orchestration.launcher.runs import materialise, upstream
    from recommenders.evaluation.writers.markdown import render

    settings = settings_of(dataset, source, config)
    settings.remember_dataset("train")
    fitted = platform.is_trained(settings)
    materialise(settings, ["evaluation_report"] if fitted else upstream(settings, "evaluation_report"))
    settings.remember_source()
    report = platform.report(settings)
    return report.to_json(), render(report)


def of_files(
    train: Path, own: Mapping[str, Any], foreign: Mapping[str, Any], config: Path | None
) -> tuple[dict[str, Any], str]:
    """The figures of a benchmark in files, as JSON and as a page. own, foreign: option -> what was given for it."""
    if given := [name for name, value in foreign.items() if value is not None]:
        raise ConfigurationError(f"got {', '.join(given)} with --train; allowed: files or a data set; leave one out")
    if own["--test"] is None:
        raise ConfigurationError("--train: got no --test; allowed: both; give the events to judge by as --test FILE")
    k = K if own["--k"] is None else own["--k"]
    if k < 1:
        raise ConfigurationError(f"--k: got {k}; allowed: 1 or more; say how many places a list has")
    from orchestration.settings import Settings
    from recommenders.evaluation.benchmark.files import Files
    from recommenders.evaluation.benchmark.report import to_markdown
    from recommenders.training.file_benchmark import evaluate_files

    check_config(config)
    training = Settings.read(config=config).training
    asked = _names(own["--models"] or "") or training.enabled()
    files = Files(train, own["--test"], own["--negatives"], own["--items"], own["--repeat"])
    found = evaluate_files(files, asked, k, training, say)
    return found, to_markdown(found)


def _names(given: str) -> list[str]:
    """The models named, each once. Raises UnknownNameError."""
    from recommenders.models.catalog import MODELS

    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    for name in names:
        if name not in MODELS:
            raise UnknownNameError("model", name, MODELS)
    return names
