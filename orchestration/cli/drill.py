"""`tradewind drill`: the whole loop on a simulated market, where something happens that the platform has to notice."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Config, check_config, echo
from orchestration.cli.signals import end_on_signals
from recommenders.errors import UnknownNameError

ALL = "all"


def drill(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario (docs/drill.md), or all.")],
    days: Annotated[int, typer.Option(min=21, help="Simulated days. The change comes after two weeks.")] = 42,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 1,
    to: Annotated[
        Path | None, typer.Option(help="Folder of the results.", show_default="drills below TRADEWIND_HOME")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Play a scenario with the whole platform on a simulated market; write a page with plots, and JSON."""
    from orchestration.drill.play import CONFIG, play
    from orchestration.drill.results import finished, summary, write
    from orchestration.drill.scenarios import SCENARIOS
    from orchestration.settings import Settings

    if scenario not in (*SCENARIOS, ALL):
        raise UnknownNameError("scenario", scenario, (*SCENARIOS, ALL))
    check_config(config)
    folder = (to or Settings.read().home / "drills").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=folder / "drill.log", level=logging.WARNING)
    results = []
    for name in SCENARIOS if scenario == ALL else (scenario,):
        found = finished(folder, name, days, seed, config or CONFIG) if scenario == ALL else None
        if found is None:
            with end_on_signals(), tempfile.TemporaryDirectory(prefix="tradewind-drill-") as home:
                record = play(name, days, seed, Path(home), config or CONFIG, echo)
            found = write(folder, record, config or CONFIG)
        echo(f"{name}: {folder / name / 'page.html'}")
        results.append(found)
    print(json.dumps(results) if as_json else summary(results))
