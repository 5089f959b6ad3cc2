"""`tradewind data make`: a simulated market as files."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import echo
from recommenders.errors import ConfigurationError


def make(
    to: Annotated[Path, typer.Option(help="Folder for the files; it must not exist yet.")],
    scale: Annotated[float, typer.Option(help="1 is 2,000 users and 25,000 orders, 100 is 2.5 million orders.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Random seed; each seed gives another market.")] = 42,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="KIND:FIRST-DAY:STRENGTH, such as demand_shift:2026-05-01:0.5; may be repeated."),
    ] = None,
) -> None:
    """Write a simulated B2B market of any size as files, with scenarios (docs/world.md)."""
    from recommenders.simulation.config import Scenario
    from recommenders.simulation.market_files import write_world

    if to.exists():
        raise ConfigurationError(f"--to: {to} exists already; name a new folder, nothing is overwritten")
    write_world(to, scale, seed, [Scenario.parse(text) for text in scenario or []])
    echo(f"Written to {to}. Next: tradewind run --dataset custom_b2b --source {to}")
