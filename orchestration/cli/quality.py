"""`tradewind quality`: what users did with the lists that were served."""

from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Dataset, settings_without_source
from recommenders.errors import DataError


def quality(
    dataset: Dataset = None,
    days: Annotated[int, typer.Option(min=1, help="How many of the last days with lists.")] = 14,
    by: Annotated[
        str,
        typer.Option(help="all, version, scene, strategy, user, segment, industry, region, slot, or 'no list'."),
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """Print the online quality by day: the last result of the asset online_quality."""
    from monitoring.online.page import as_markdown, select_days
    from orchestration.assets.online_quality import stored_quality
    from orchestration.io_manager import Lake

    settings = settings_without_source(dataset)
    table = stored_quality(Lake(root=str(settings.lake)), settings.dataset)
    if table is None:
        raise DataError(
            f"{settings.dataset} has no online quality yet; it is computed every hour while `tradewind run` runs; to "
            "compute it now, materialise online_quality in Dagster"
        )
    rows = select_days(table, by, days)
    print(rows.to_json(orient="records", date_format="iso") if as_json else as_markdown(rows))
