"""`tradewind release`: versions of models."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.options import AsJson, Dataset, echo, settings_without_source

if TYPE_CHECKING:
    from orchestration.launcher.console import VersionRow
    from serving.champion.pointer import Pointer

GATE = {True: "passed", False: "failed", None: ""}  # by the `promoted` of a version

app = typer.Typer(help="Versions: list, promote, roll back, package.", no_args_is_help=True)


@app.command("list")
def release_list(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """List all versions, newest first, with the result of the gate."""
    from orchestration.launcher.console import versions_of

    settings = settings_without_source(dataset)
    rows = versions_of(settings)
    if as_json:
        print(json.dumps([row.to_json() for row in rows]))
    elif not rows:
        print(f"{settings.dataset} has no versions yet; start with: tradewind run --dataset {settings.dataset}")
    else:
        print("\n".join(_lines(rows)))


@app.command("promote")
def release_promote(
    version: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the version.")],
    dataset: Dataset = None,
    force: Annotated[
        str, typer.Option(help="Promote although the gate failed; this reason is stored with the version.")
    ] = "",
) -> None:
    """Make a version the champion, if it passed the gate."""
    from serving.release.challenger import promote_evaluated
    from serving.release.registry import Registry

    settings = settings_without_source(dataset)
    registry = Registry(settings)
    before = registry.pointer(settings.dataset)
    released = promote_evaluated(registry, settings.dataset, version, force)
    settings.alerts.recover_all("rollback", settings.dataset)
    echo(f"Version {released.number} ({released.model}) of {settings.dataset} serves now.{_pin_ended(before)}")


@app.command("rollback")
def release_rollback(dataset: Dataset = None) -> None:
    """Make the previous champion serve again."""
    from serving.release.registry import Registry

    settings = settings_without_source(dataset)
    registry = Registry(settings)
    before = registry.pointer(settings.dataset)
    released = registry.rollback(settings.dataset)
    echo(f"Version {released.number} ({released.model}) of {settings.dataset} serves again.{_pin_ended(before)}")
    echo(
        "Retrainings of the recipe and data just rolled back will not be promoted; those of newer data may be. To keep "
        f"this version in any case: tradewind release pin {released.number} --dataset {settings.dataset}"
    )


@app.command("pin")
def release_pin(
    version: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the version that serves.")],
    dataset: Dataset = None,
) -> None:
    """Keep the version that serves until it is unpinned; no retraining replaces it."""
    from serving.release.registry import Registry

    settings = settings_without_source(dataset)
    Registry(settings).pin(settings.dataset, version)
    echo(f"Version {version} of {settings.dataset} is pinned; retrainings go on and replace nothing.")


@app.command("unpin")
def release_unpin(dataset: Dataset = None) -> None:
    """Allow retrainings to replace the version that serves."""
    from serving.release.registry import Registry

    settings = settings_without_source(dataset)
    before = Registry(settings).pin(settings.dataset, None)
    if before is not None and before.pinned:
        echo(f"Version {before.version} of {settings.dataset} is no longer pinned.")
    else:
        echo(f"No version of {settings.dataset} is pinned.")


@app.command("bento")
def release_bento(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Build a Bento that serves the champion on its own, without MLflow."""
    from serving.release.bento import build

    settings = settings_without_source(dataset)
    built = build(settings)
    if as_json:
        print(json.dumps({"tag": built.tag, "path": str(built.path)}))
    else:
        echo(f"Built {built.tag}. Serve it: BENTOML_HOME={settings.home / 'bentoml'} bentoml serve {built.tag}")


def _pin_ended(before: "Pointer | None") -> str:
    """A sentence if the change ended a pin. before: the pointer before the change."""
    return f" The pin of version {before.version} has ended." if before is not None and before.pinned else ""


def _lines(rows: "Sequence[VersionRow]") -> list[str]:
    """A heading, one line per version, and the reasons if the gate failed. Lines are not cut to the terminal width."""
    width = max(len(row.model) for row in rows)
    columns = f"{{:>4}}  {{:<{width}}}  {{:<20}}  {{:<6}}  {{:<16}}  {{}}"
    lines = [columns.format("", "model", "NDCG@10 [95 %]", "gate", "created (UTC)", "alias")]
    for row in rows:
        cell = [value for value in row.primary_metric or [] if value is not None]
        ndcg = "{:.3f} [{:.3f}, {:.3f}]".format(*cell) if len(cell) == 3 else ""
        created, aliases = row.created[:16].replace("T", " "), ", ".join(row.aliases)
        lines.append(columns.format(row.version, row.model, ndcg, GATE[row.promoted], created, aliases).rstrip())
        lines += [f"      {reason}" for reason in row.reasons if row.promoted is False]
    return lines
