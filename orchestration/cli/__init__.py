"""The `tradewind` command.

Exit codes: 0 success, 1 the platform refused or failed (a check, the gate, a service), 2 bad input, 130 interrupted,
143 ended by SIGTERM.
"""

import atexit
import gc
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli import data, evaluation, release
from orchestration.cli.options import AsJson, Config, Dataset, Source, echo, settings_of, settings_without_source
from recommenders.errors import ConfigurationError, DataError, TradewindError

app = typer.Typer(
    help="A recommender platform: train, evaluate, release, serve, monitor and retrain models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.add_typer(release.app, name="release")


@app.command()
def run(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    once: Annotated[
        bool, typer.Option("--once", help="Run everything once, test /predict, print JSON as the last line, and exit.")
    ] = False,
) -> None:
    """Run everything: data, models, champion, service and web pages. Ctrl-C stops it."""
    from orchestration.launcher.console import run_platform

    _end_on_signals()
    run_platform(settings_of(dataset, source, config), once, echo)


@app.command()
def train(dataset: Dataset = None, source: Source = None, config: Config = None, as_json: AsJson = False) -> None:
    """Read the source and fit all models on the events before the cut."""
    from orchestration.launcher.runs import materialise, upstream

    settings = settings_of(dataset, source, config)
    settings.remember_dataset("train")
    done = materialise(settings, upstream(settings, *settings.training.enabled()))
    settings.remember_source()
    if as_json:
        print(json.dumps({"dataset": settings.dataset, "run_id": done.run_id, "seconds": done.seconds}))
    else:
        echo(f"Trained on {settings.dataset}. Next: tradewind evaluate --dataset {settings.dataset}")


@app.command()
def evaluate(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    output: Annotated[Path | None, typer.Option(help="Also write the report to this Markdown file.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="Training events of a custom benchmark (docs/evaluation.md).")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Test events of the benchmark; with --train.")] = None,
    negatives: Annotated[
        Path | None, typer.Option(help="Sampled negatives to rank the test items among, else all items; with --train.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="CSV of item_id, title, category, brand, price ...; with --train.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Model names, separated by commas; with --train.", show_default="all enabled models"),
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Number of items in a list; with --train.", show_default=str(evaluation.K))
    ] = None,
    repeat: Annotated[
        bool,
        typer.Option("--repeat", help="Repeat consumption: known items stay in the lists; with --train."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate models on a data set's test window (fits them first if needed), or on your own files."""
    benchmark = {
        "--test": test,
        "--negatives": negatives,
        "--items": items,
        "--models": models,
        "--k": k,
        "--repeat": repeat,
    }
    if models is not None and not models.strip(", "):
        raise ConfigurationError(
            f"--models: got {models!r}; allowed: names separated by commas; name one or leave it out"
        )
    if train is not None:
        found, page = evaluation.report_on_files(train, benchmark, {"--dataset": dataset, "--source": source}, config)
    elif given := [name for name, value in benchmark.items() if value is not None and value is not False]:
        raise ConfigurationError(f"got {', '.join(given)} without --train; allowed: --train FILE --test FILE; add them")
    else:
        found, page = evaluation.report_on_dataset(dataset, source, config)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page)
    print(json.dumps(found) if as_json else page)


@app.command()
def batch(
    dataset: Dataset = None,
    output: Annotated[Path | None, typer.Option(help="Write the lists here: .parquet or .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the champion's lists for all known users."""
    from orchestration.cli.exports import write_lists
    from orchestration.launcher.platform_state import live_pointer
    from orchestration.launcher.runs import materialise

    settings = settings_of(dataset)
    if output is not None and output.suffix not in (".parquet", ".csv"):
        raise ConfigurationError(f"--output: got {output.name}; allowed: a name that ends in .parquet or .csv")
    pointer = live_pointer(settings)
    materialise(settings, ["batch_recommendations"])
    path, rows = write_lists(settings, output)
    if as_json:
        print(json.dumps({"dataset": settings.dataset, "version": pointer.version, "rows": rows, "file": str(path)}))
    else:
        echo(f"{rows} rows by version {pointer.version} in {path}")


@app.command()
def status(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Show the champion, the last runs, the services that answer, and the alerts."""
    from orchestration.launcher.console import print_status, status_of

    settings = settings_without_source(dataset)
    found = status_of(settings)
    if as_json:
        print(json.dumps(found))
    else:
        print_status(found)


def _end_on_signals() -> None:
    """SIGTERM ends this process; so does SIGINT, unless the parent process had it ignored.

    One handler for both signals: Dagster gives SIGTERM the handler of SIGINT after each run, and a script's background
    jobs ignore SIGINT, so only SIGKILL would end one.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def end(number: int, _: object) -> None:
        if number == signal.SIGTERM:
            raise SystemExit(143)
        if not ignored:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def main() -> None:
    """Entry point: prints an error meant for the user as one line, and sets the exit code."""
    # At its end Python searches all objects for cycles, seconds with the libraries of a run; frozen ones are left out.
    atexit.register(gc.freeze)
    try:
        app()
    except TradewindError as error:
        echo(f"tradewind: {error}")
        sys.exit(2 if isinstance(error, ConfigurationError | DataError) else 1)
    except OSError as error:
        what = error.filename or "the system"
        echo(f"tradewind: {what}: {error.strerror or error}; check the path, its rights and the disk")
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:  # typer's exit code for Ctrl-C; it prints nothing
            echo("tradewind: interrupted")
        raise


if __name__ == "__main__":
    main()
