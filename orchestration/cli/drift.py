"""`tradewind drift`: the newest drift report, and what persons wrote about it."""

import json
from typing import Annotated

import typer

from monitoring.drift.reviews import ENTRY, Verdict, causes, standing
from orchestration.cli.options import AsJson, Dataset, echo, settings_without_source

app = typer.Typer(help="Drift: show the newest report, review it, list the reviews.", no_args_is_help=True)


@app.command("show")
def drift_show(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Show what the newest drift report found, and which of it was reviewed."""
    from orchestration.drift_review import newest_report, reviews_of

    settings = settings_without_source(dataset)
    report, reviewed = newest_report(settings), standing(reviews_of(settings).entries())
    found = {cause: reviewed.get(cause) for cause in causes(report)}
    end = f"{report.current.end:%Y-%m-%d %H:%M}" if report.current.end else None
    if as_json:
        verdicts = {cause: review and review.verdict for cause, review in found.items()}
        print(json.dumps({"window_end": end, "fired": report.fired, "summary": report.summary, "causes": verdicts}))
        return
    print(f"{settings.dataset}, window that ends at {end or 'no time'} UTC: {report.summary}")
    for cause, review in found.items():
        print(f"{cause:<16} {review.text if review else 'not reviewed'}")


@app.command("review")
def drift_review(
    columns: Annotated[str, typer.Option(help="Columns as `tradewind drift show` lists them, with commas between.")],
    verdict: Annotated[
        Verdict, typer.Option(help="acknowledged: no more alerts of it. expected: no retraining for it either.")
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who reviews.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason.")],
    dataset: Dataset = None,
) -> None:
    """Review columns of the newest drift report. It holds until a report does not find them any more."""
    from orchestration.drift_review import store_review

    names = [name.strip() for name in columns.split(",") if name.strip()]
    written = store_review(settings_without_source(dataset), names, verdict, by, why)
    echo(f"Stored: {written}")


@app.command("list")
def drift_list(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """List all reviews and their ends, newest first."""
    from orchestration.drift_review import reviews_of

    settings = settings_without_source(dataset)
    entries = reviews_of(settings).entries()[::-1]
    if as_json:
        print(json.dumps([ENTRY.dump_python(entry, mode="json") for entry in entries]))
    elif not entries:
        print(f"{settings.dataset} has no reviews yet")
    else:
        print("\n".join(map(str, entries)))
