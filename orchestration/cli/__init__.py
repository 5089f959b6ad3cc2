"""The `tradewind` command.

Exit codes: 0 success, 1 the platform refused or failed (a check, the gate, a service), 2 bad input, 130 interrupted,
143 ended by SIGTERM.
"""

import atexit
import gc
import sys

import typer

from orchestration.cli import (
    alerts,
    batch,
    benchmark,
    config,
    data,
    drift,
    drill,
    evaluate,
    keys,
    metrics,
    prune,
    quality,
    release,
    replay,
    run,
    status,
    train,
    tune,
    validate,
)
from orchestration.cli.options import echo
from recommenders.errors import ConfigurationError, DataError, TradewindError

app = typer.Typer(
    help="A recommender platform: train, evaluate, release, serve, monitor and retrain models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(release.app, name="release")
app.add_typer(keys.app, name="keys")
app.add_typer(alerts.app, name="alerts")
app.add_typer(drift.app, name="drift")
for command in (
    run.run,
    train.train,
    tune.tune,
    evaluate.evaluate,
    validate.validate,
    benchmark.benchmark,
    batch.batch,
    quality.quality,
    drill.drill,
    prune.prune,
    replay.replay,
    status.status,
    metrics.metrics,
):
    app.command()(command)


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
