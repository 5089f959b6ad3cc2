"""`tradewind evaluate`: the models on the test window of a data set, by its own protocol."""

from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Changes, Config, Dataset, Output, Source, print_report, settings_of
from recommenders.errors import ConfigurationError

FORMER = ("--train", "--test", "--negatives", "--items", "--models", "--k")  # options of `tradewind benchmark` now


def evaluate(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    changes: Changes = None,
    output: Output = None,
    as_json: AsJson = False,
    former: Annotated[list[str] | None, typer.Option(*FORMER, hidden=True)] = None,
    repeat: Annotated[bool, typer.Option("--repeat", hidden=True)] = False,
) -> None:
    """Evaluate models on a data set's test window; fits them first if needed."""
    if former or repeat:
        raise ConfigurationError(
            "tradewind evaluate --train FILE --test FILE is called tradewind benchmark --train FILE --test FILE now; "
            "use that for files of your own"
        )
    from orchestration.launcher import platform_state
    from orchestration.launcher.runs import materialise, upstream
    from recommenders.evaluation.writers.markdown import render

    settings = settings_of(dataset, source, config, changes)
    settings.remember_dataset("train")
    fitted = platform_state.is_trained(settings)
    materialise(settings, ["evaluation_report"] if fitted else upstream(settings, "evaluation_report"))
    settings.remember_source()
    report = platform_state.last_report(settings)
    print_report(report.to_json(), render(report), output, as_json)
