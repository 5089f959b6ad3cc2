"""The evaluation report as Markdown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recommenders.evaluation.criteria import MODEL_TARGETS

if TYPE_CHECKING:
    from recommenders.evaluation.report import Report

Cell = Sequence[float | None]


def render(report: "Report") -> str:
    """Models, views, criteria and cost, for a reader who was not there."""
    sections = [
        f"# Evaluation of {report.dataset or 'a log'}",
        f"{report.protocol}. Cut: {report.cut or 'given by files'}. {report.n_users} buyers; left out as never seen "
        f"before: {report.cold_users} buyers, {report.cold_items} items. Intervals are 95 % bootstraps over buyers "
        "(of coverage: over items).",
        "## All items\n\n" + metrics_table(report.models, report.ceilings["all"]),
    ]
    for view, models in report.views.items():
        undefined = report.undefined[view]["users"]
        note = f"{undefined} buyers have nothing relevant here and are not counted.\n\n" if undefined else ""
        sections.append(f"## {view.capitalize()}\n\n{note}" + metrics_table(models, report.ceilings[view]))
    named = "hybrid" if "hybrid" in report.models else next(iter(report.models))
    sections += [
        f"## Success criteria, {named}\n\n" + criteria_table(report, named),
        "## Targets of each model\n\n" + targets_table(report),
        "## Cost\n\n" + cost_table(report),
    ]
    return "\n\n".join(sections) + "\n"


def metrics_table(models: Mapping[str, Mapping[str, Cell]], ceilings: Mapping[str, float]) -> str:
    """One row a model, and the ceiling below."""
    metrics = list(next(iter(models.values())))
    rows = [[name, *(with_interval(values[metric]) for metric in metrics)] for name, values in models.items()]
    rows.append(["*ceiling*", *(figure(ceilings.get(metric)) for metric in metrics)])
    return table(["model", *metrics], rows)


def criteria_table(report: "Report", model: str) -> str:
    """Target, reached, ceiling, share of the ceiling, protocol."""
    rows = []
    for row in report.criteria(model):
        reached, ceiling = row["reached"], row["ceiling"]
        share = f"{reached / ceiling:.0%}" if ceiling and reached is not None else "-"
        met = "-" if reached is None else yes(reached < row["target"] if ceiling is None else reached > row["target"])
        rows.append(
            [
                row["metric"],
                figure(row["target"]),
                figure(reached),
                met,
                figure(ceiling),
                share,
                row["protocol"],
            ]
        )
    return table(["criterion", "target", "reached", "met", "ceiling", "share of ceiling", "protocol"], rows)


def targets_table(report: "Report") -> str:
    """Each named model against its own targets: reached / target."""
    named = [name for name in MODEL_TARGETS if name in report.models]
    metrics = list(next(iter(MODEL_TARGETS.values())))
    rows = [
        [name, *(f"{figure(_value(report, name, m))} / {figure(MODEL_TARGETS[name][m])}" for m in metrics)]
        for name in named
    ]
    rows.append(["*ceiling*", *(figure(report.ceilings["all"].get(metric)) for metric in metrics)])
    return table(["model (reached / target)", *metrics], rows)


def cost_table(report: "Report") -> str:
    """Milliseconds a list and megabytes on disk."""
    rows = [
        [name, f"{times['p50']:.2f}", f"{times['p95']:.2f}", f"{report.megabytes[name]:.1f}"]
        for name, times in report.milliseconds.items()
    ]
    return table(["model", "ms a list, p50", "p95", "MB on disk"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def with_interval(cell: Cell) -> str:
    """0.123 [0.100, 0.150]."""
    value, low, high = cell
    return figure(value) if low is None or high is None else f"{figure(value)} [{low:.3f}, {high:.3f}]"


def figure(value: float | None) -> str:
    """Three digits, or a dash where there is nothing to tell."""
    return "-" if value is None else f"{value:.3f}"


def yes(holds: bool) -> str:
    """A word for a table."""
    return "yes" if holds else "no"


def _value(report: "Report", model: str, metric: str) -> float | None:
    cell = report.models[model].get(metric)
    return cell[0] if cell else None
