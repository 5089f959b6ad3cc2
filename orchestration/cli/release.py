"""`tradewind release`: versions of models."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from orchestration.cli.options import AsJson, Dataset, known, say
from recommenders.metrics.ranking import PRIMARY_METRIC

GATE = {True: "passed", False: "held", None: ""}  # what a version's `promoted` says

app = typer.Typer(help="Versions: list, promote, roll back, package.", no_args_is_help=True)


@app.command("list")
def release_list(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """All versions, newest first, with what the gate said."""
    from orchestration.launcher.console import versions_of

    settings = known(dataset)
    rows = versions_of(settings)
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"{settings.dataset} has no versions yet; start with: tradewind run --dataset {settings.dataset}")
    else:
        print("\n".join(_lines(rows)))


@app.command("promote")
def release_promote(
    version: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the version.")],
    dataset: Dataset = None,
    force: Annotated[str, typer.Option(help="Promote against the gate; the reason given here is stored with it.")] = "",
) -> None:
    """Make a version the champion, if the gate let it pass."""
    from serving.release.challenger import promote_judged
    from serving.release.registry import Registry

    settings = known(dataset)
    registry = Registry(settings)
    before = registry.pointer(settings.dataset)
    released = promote_judged(registry, settings.dataset, version, force)
    say(f"Version {released.number} ({released.model}) of {settings.dataset} serves now.{_lifted(before)}")


@app.command("rollback")
def release_rollback(dataset: Dataset = None) -> None:
    """Make the champion before the present one serve again."""
    from serving.release.registry import Registry

    settings = known(dataset)
    registry = Registry(settings)
    before = registry.pointer(settings.dataset)
    released = registry.rollback(settings.dataset)
    say(f"Version {released.number} ({released.model}) of {settings.dataset} serves again.{_lifted(before)}")
    say(
        "Retrainings of the recipe and data just rolled back will not be promoted; of newer data they may be. To keep "
        f"this version whatever they find: tradewind release pin {released.number} --dataset {settings.dataset}"
    )


@app.command("pin")
def release_pin(
    version: Annotated[int, typer.Argument(metavar="NUMBER", help="Number of the version, the one that serves.")],
    dataset: Dataset = None,
) -> None:
    """Keep the version that serves, whatever retrainings find, until it is unpinned."""
    from serving.release.registry import Registry

    settings = known(dataset)
    Registry(settings).pin(settings.dataset, version)
    say(f"Version {version} of {settings.dataset} is pinned; retrainings go on and replace nothing.")


@app.command("unpin")
def release_unpin(dataset: Dataset = None) -> None:
    """Let retrainings replace the version that serves again."""
    from serving.release.registry import Registry

    settings = known(dataset)
    before = Registry(settings).pin(settings.dataset, None)
    if before is not None and before.pinned:
        say(f"Version {before.version} of {settings.dataset} is pinned no more.")
    else:
        say(f"No version of {settings.dataset} is pinned.")


@app.command("bento")
def release_bento(dataset: Dataset = None, as_json: AsJson = False) -> None:
    """Build a Bento that serves the champion on its own, with no MLflow at hand."""
    from serving.release.bento import build

    settings = known(dataset)
    built = build(settings)
    if as_json:
        print(json.dumps({"tag": built.tag, "path": str(built.path)}))
    else:
        say(f"Built {built.tag}. Serve it: BENTOML_HOME={settings.home / 'bentoml'} bentoml serve {built.tag}")


def _lifted(before: Any) -> str:
    """That a pin ended with a change of what serves. before: the pointer there was."""
    return f" The pin of version {before.version} has ended." if before is not None and before.pinned else ""


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A heading, a line a version and, where the gate held one back, why; nothing is cut to a terminal's width."""
    width = max(len(row["model"]) for row in rows)
    columns = f"{{:>4}}  {{:<{width}}}  {{:<20}}  {{:<6}}  {{:<16}}  {{}}"
    lines = [columns.format("", "model", "NDCG@10 [95 %]", "gate", "created (UTC)", "alias")]
    for row in rows:
        cell = row[PRIMARY_METRIC] or [None]
        ndcg = "{:.3f} [{:.3f}, {:.3f}]".format(*cell) if None not in cell else ""
        created, aliases = row["created"][:16].replace("T", " "), ", ".join(row["aliases"])
        lines.append(
            columns.format(row["version"], row["model"], ndcg, GATE[row["promoted"]], created, aliases).rstrip()
        )
        lines += [f"      {reason}" for reason in row["reasons"] if row["promoted"] is False]
    return lines
