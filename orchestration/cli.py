"""The `tradewind` command.

Exit codes: 0 done, 1 the platform refused or failed (a check, the gate, a service), 2 bad input, 130 interrupted.
"""

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from recommenders.errors import ConfigurationError, DataError, ReleaseError, TradewindError

app = typer.Typer(
    help="A recommender platform that keeps itself good: train, gate, serve, watch, retrain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Data sets: which there are, and what one holds.", no_args_is_help=True)
release_app = typer.Typer(help="Versions: list, promote, roll back, package.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(release_app, name="release")

Dataset = Annotated[str | None, typer.Option(help="Data set by name [default: TRADEWIND_DATASET or custom_b2b].")]
Source = Annotated[Path | None, typer.Option(help="File or folder with the data set's files.")]
Config = Annotated[Path | None, typer.Option(help="Training configuration [default: configs/training.yaml].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print figures as one line of JSON, for programs.")]


def settings_of(dataset: str | None = None, source: Path | None = None, config: Path | None = None) -> Any:
    """The settings of this call, checked: data set, configuration and source exist."""
    from orchestration.platform import check_source
    from orchestration.settings import Settings

    if config is not None and not config.is_file():
        raise ConfigurationError(f"--config: no such file: {config}; see configs/training.yaml for one to start from")
    settings = Settings.read(dataset=dataset, source=source, config=config)
    _ = settings.spec, settings.training
    check_source(settings)
    settings.logs.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=settings.logs / "tradewind.log", level=logging.WARNING)  # what the libraries say
    return settings


def known(dataset: str | None) -> Any:
    """The settings of a call that reads no source; the data set exists."""
    from orchestration.settings import Settings

    settings = Settings.read(dataset=dataset)
    _ = settings.spec
    return settings


def say(text: str) -> None:
    """A line for people; standard output stays free for figures."""
    typer.echo(text, err=True)


@app.command()
def run(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    once: Annotated[
        bool, typer.Option(help="Do everything once, ask /predict, print JSON as the last line, end.")
    ] = False,
) -> None:
    """Run everything: data, models, champion, service and pages. Ctrl-C ends it all."""
    from orchestration.console import run_platform

    signal.signal(signal.SIGTERM, _ended)
    run_platform(settings_of(dataset, source, config), once, say)


@app.command()
def train(dataset: Dataset = None, source: Source = None, config: Config = None, as_json: AsJson = False) -> None:
    """Read the source and fit all models on what lies before the cut."""
    from orchestration.runs import materialise, upstream

    settings = settings_of(dataset, source, config)
    done = materialise(settings, upstream(settings, "hybrid"))
    settings.remember_source()
    if as_json:
        print(json.dumps({"dataset": settings.dataset, "run_id": done.run_id, "seconds": done.seconds}))
    else:
        say(f"Trained on {settings.dataset}. Next: tradewind evaluate --dataset {settings.dataset}")


@app.command()
def evaluate(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    output: Annotated[Path | None, typer.Option(help="Also write the report to this Markdown file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge all models on the test window: intervals, ceilings, criteria. Fits them first where they are not."""
    from orchestration import platform
    from orchestration.runs import materialise, upstream

    settings = settings_of(dataset, source, config)
    fitted = platform.is_trained(settings)
    materialise(settings, ["evaluation_report"] if fitted else upstream(settings, "evaluation_report"))
    settings.remember_source()
    report = platform.report(settings)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(report.to_markdown())
    print(json.dumps(report.to_json()) if as_json else report.to_markdown())


@app.command()
def batch(
    dataset: Dataset = None,
    output: Annotated[Path | None, typer.Option(help="Write the lists here: .parquet or .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """The champion's lists for every known buyer."""
    from orchestration.exports import write_lists
    from orchestration.platform import live
    from orchestration.runs import materialise

    settings = settings_of(dataset)
    if output is not None and output.suffix not in (".parquet", ".csv"):
        raise ConfigurationError(f"--output: got {output.name}; allowed: a name that ends in .parquet or .csv")
    pointer = live(settings)
    materialise(settings, ["batch_recommendations"])
    path, rows = write_lists(settings, output)
    if as_json:
        print(json.dumps({"dataset": settings.dataset, "version": pointer.version, "rows": rows, "file": str(path)}))
    else:
        say(f"{rows} rows by version {pointer.version} in {path}")


@app.command()
def status(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """What serves, what ran last, which services answer, what alarmed."""
    from orchestration.console import print_status, status_of

    settings = known(dataset)
    found = status_of(settings)
    if as_json:
        print(json.dumps(found))
    else:
        print_status(found)


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """The data sets there are, with their licence and what --source expects."""
    from recommenders.datasets.catalog import DATASETS

    rows = [{"name": s.name, "title": s.title, "licence": s.licence, "source": s.layout} for s in DATASETS.values()]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['name']}\n  {row['title']}\n  source: {row['source']}\n  licence: {row['licence']}")


@data_app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="Data set by name.")],
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set and tell what it holds and where every row went."""
    from orchestration.exports import describe_tables
    from orchestration.runs import materialise

    settings = settings_of(name, source)
    materialise(settings, ["raw_dataset", "interactions", "items", "users", "quarantine"])
    facts = describe_tables(settings)
    if as_json:
        print(json.dumps(facts))
        return
    for key, value in facts.items():
        print(f"{key:<22} {value}")


@release_app.command("list")
def release_list(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """All versions, newest first, with what the gate said."""
    from orchestration.console import print_versions, versions_of

    settings = known(dataset)
    rows = versions_of(settings)
    if as_json:
        print(json.dumps(rows))
    else:
        print_versions(settings, rows)


@release_app.command("promote")
def release_promote(
    version: Annotated[int, typer.Argument(help="Number of the version.")],
    dataset: Dataset = None,
    force: Annotated[str, typer.Option(help="Promote against the gate; the reason given here is stored with it.")] = "",
) -> None:
    """Make a version the champion, if the gate let it pass."""
    from serving.judgement import promote_judged
    from serving.registry import Registry

    settings = known(dataset)
    released = promote_judged(Registry(settings), settings.dataset, version, force)
    say(f"Version {released.number} ({released.model}) of {settings.dataset} serves now.")


@release_app.command("rollback")
def release_rollback(dataset: Dataset = None) -> None:
    """Make the champion before the present one serve again."""
    from serving.registry import Registry

    settings = known(dataset)
    released = Registry(settings).rollback(settings.dataset)
    say(f"Version {released.number} ({released.model}) of {settings.dataset} serves again.")


@release_app.command("bento")
def release_bento(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Build a Bento that serves the champion on its own, with no MLflow at hand."""
    from serving.bento import build

    settings = known(dataset)
    built = build(settings)
    if as_json:
        print(json.dumps({"tag": built.tag, "path": str(built.path)}))
    else:
        say(f"Built {built.tag}. Serve it: BENTOML_HOME={settings.home / 'bentoml'} bentoml serve {built.tag}")


def _ended(*_: object) -> NoReturn:
    raise SystemExit(143)


def main() -> None:
    """Entry point: errors meant for the user become one line and an exit code."""
    try:
        app()
    except TradewindError as error:
        say(f"tradewind: {error}")
        sys.exit(2 if isinstance(error, ConfigurationError | DataError | ReleaseError) else 1)
    except OSError as error:
        what = error.filename or "the system"
        say(f"tradewind: {what}: {error.strerror or error}; check the path, its rights and the disk")
        sys.exit(1)
    except KeyboardInterrupt:
        say("tradewind: interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
