"""`tradewind evaluate`: a data set of the catalogue by its own protocol, or files with their own split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestration.cli.options import check_config, echo, settings_of
from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.metrics.ranking import K


def report_on_dataset(dataset: str | None, source: Path | None, config: Path | None) -> tuple[dict[str, Any], str]:
    """The report on a data set's test window, as JSON and as Markdown; fits the models first if needed."""
    from orchestration.launcher import platform_state
    from orchestration.launcher.runs import materialise, upstream
    from recommenders.evaluation.writers.markdown import render

    settings = settings_of(dataset, source, config)
    settings.remember_dataset("train")
    fitted = platform_state.is_trained(settings)
    materialise(settings, ["evaluation_report"] if fitted else upstream(settings, "evaluation_report"))
    settings.remember_source()
    report = platform_state.last_report(settings)
    return report.to_json(), render(report)


def report_on_files(
    train: Path, benchmark: Mapping[str, Any], dataset_options: Mapping[str, Any], config: Path | None
) -> tuple[dict[str, Any], str]:
    """The metrics of a benchmark in files, as JSON and as Markdown.

    benchmark, dataset_options: option -> its value. Raises ConfigurationError for options that do not fit together.
    """
    if given := [name for name, value in dataset_options.items() if value is not None]:
        raise ConfigurationError(f"got {', '.join(given)} with --train; allowed: files or a data set; leave one out")
    if benchmark["--test"] is None:
        raise ConfigurationError("--train: got no --test; allowed: both; give the test events as --test FILE")
    k = K if benchmark["--k"] is None else benchmark["--k"]
    if k < 1:
        raise ConfigurationError(f"--k: got {k}; allowed: 1 or more; give the number of items in a list")
    from orchestration.settings import Settings
    from recommenders.evaluation.benchmark.files import BenchmarkFiles
    from recommenders.evaluation.benchmark.report import to_markdown
    from recommenders.training.file_benchmark import evaluate_files

    check_config(config)
    training = Settings.read(config=config).training
    names = _names(benchmark["--models"] or "") or training.enabled()
    files = BenchmarkFiles(
        train, benchmark["--test"], benchmark["--negatives"], benchmark["--items"], benchmark["--repeat"]
    )
    found = evaluate_files(files, names, k, training, echo)
    return found, to_markdown(found)


def _names(given: str) -> list[str]:
    """The named models, each once. Raises UnknownNameError."""
    from recommenders.models.catalog import MODELS

    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    for name in names:
        if name not in MODELS:
            raise UnknownNameError("model", name, MODELS)
    return names
