"""The evaluation report as Markdown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recommenders.evaluation.criteria import met
from recommenders.metrics.ranking import FORMULAS, PRIMARY_METRIC

if TYPE_CHECKING:
    from recommenders.evaluation.report import Report

LEGEND = (
    "Novelty: bits of surprise an item, from the share of buyers who had it. Serendipity: share of places that hold "
    "something relevant which the most bought items lack. Popularity lift: how many times more buyers the items shown "
    "have than the buyer's own, less one. Personalisation: share of two buyers' lists that differs. Gini: 0 where all "
    "items are shown alike, 1 where few take every place."
)
OUT_OF_REACH = "*beyond the ceiling: no model can reach it by this protocol*"
BESIDE = 4  # models told apart in a table of slices

Cell = Sequence[float | None]


def render(report: "Report") -> str:
    """Models, views, comparisons, slices, criteria and cost, for a reader who was not there."""
    named = preferred(report)
    sections = [
        f"# Evaluation of {report.dataset or 'a log'}",
        f"{report.protocol}. Cut: {report.cut or 'given by files'}. {report.n_users} buyers; left out as never seen "
        f"before: {report.cold_users} buyers, {report.cold_items} items. Intervals are 95 % bootstraps over buyers; "
        "the best figure of a column is bold.",
        *view_sections(report, "all", report.models),
        *(text for view, models in report.views.items() for text in view_sections(report, view, models)),
    ]
    sections += [cold_section(name, found) for name, found in report.cold.items()]
    if report.oracle:
        sections.append("## Share of what the oracle reaches\n\n" + oracle_table(report))
    if report.slices:
        sections.append(f"## {PRIMARY_METRIC} by part of the buyers\n\n" + slices_table(report))
    if report.wanted:
        sections.append(f"## Success criteria, {named}\n\n" + criteria_table(report, named))
    if report.targets():
        sections.append("## Targets of each model\n\n" + targets_table(report))
    sections.append("## Cost\n\n" + cost_table(report))
    return "\n\n".join(sections) + "\n"


def preferred(report: "Report") -> str:
    """The model whose criteria are told: a hybrid, the learned one first, else the best."""
    best = report.comparisons.get("all", {}).get("best") or next(iter(report.models))
    return next((name for name in ("hybrid_learned", "hybrid") if name in report.models), best)


def view_sections(report: "Report", view: str, models: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """One view: how well lists meet what was wanted, how the best compares, and what the lists are like otherwise."""
    undefined = report.undefined[view]["users"]
    title = "## All items" if view == "all" else f"## {view.capitalize()}"
    note = f"{undefined} buyers have nothing relevant here and are not counted.\n\n" if undefined else ""
    beyond = [metric for metric in next(iter(models.values())) if not accuracy(metric)]
    if view != "all":  # where the lists are those of all items, only what depends on what was wanted is new
        beyond = [m for m in beyond if any(models[name][m] != report.models[name][m] for name in models)]
    table_of_lists = plain_table(models, beyond, report.ceilings[view]) if beyond else ""
    sections = [
        f"{title}\n\n{note}" + metrics_table(models, report.ceilings[view], report.oracle.get(view, {})),
        comparison_table(report.comparisons[view]) if report.comparisons.get(view, {}).get("others") else "",
        f"{table_of_lists}\n\n{LEGEND}" if view == "all" else table_of_lists,
    ]
    return [section for section in sections if section]


def cold_section(name: str, found: Mapping[str, Any]) -> str:
    """A case beside the main one: who was asked what, how well it was met, and how the best compares."""
    compared = found["comparison"]
    anything = compared.get("others") and found["models"][compared["best"]][compared["metric"]][0]
    return "\n\n".join(
        [
            f"## {name.capitalize()}",
            f"{found['description'].capitalize()}. {found['n_users']} buyers.",
            metrics_table(found["models"], found["ceilings"]),
            *([comparison_table(compared)] if anything else []),
        ]
    )


def accuracy(metric: str) -> bool:
    """Whether a metric tells how well lists meet what was wanted."""
    return metric.partition("@")[0] in FORMULAS


def metrics_table(
    models: Mapping[str, Mapping[str, Cell]], ceilings: Mapping[str, float], oracle: Mapping[str, float] | None = None
) -> str:
    """One row a model with the intervals of its accuracy; the oracle, where there is one, and the ceiling below."""
    metrics = [metric for metric in next(iter(models.values())) if accuracy(metric)]
    best = {metric: _best(models, metric) for metric in metrics}
    rows = [
        [name, *(_bold(with_interval(values[m]), values[m][0], best[m]) for m in metrics)]
        for name, values in models.items()
    ]
    if oracle:
        rows.append(["*oracle*", *(figure(oracle.get(metric)) for metric in metrics)])
    rows.append(["*ceiling*", *(figure(ceilings.get(metric)) for metric in metrics)])
    return table(["model", *metrics], rows)


def plain_table(models: Mapping[str, Mapping[str, Cell]], metrics: Sequence[str], ceilings: Mapping[str, float]) -> str:
    """One row a model, without intervals; the ceiling below."""
    rows = [[name, *(figure(values[metric][0]) for metric in metrics)] for name, values in models.items()]
    rows.append(["*ceiling*", *(figure(ceilings.get(metric)) for metric in metrics)])
    return table(["model", *metrics], rows)


def comparison_table(compared: Mapping[str, Any]) -> str:
    """The best model against each of the others: how far they are behind, and whether that can be chance."""
    ordered = sorted(compared["others"].items(), key=lambda other: _defined_first(other[1]["difference"][0]))
    rows = [
        [name, with_interval(found["difference"]), p_value(found["p"]), p_value(found["p_holm"]), found["verdict"]]
        for name, found in ordered
    ]
    best = compared["best"]
    head = (
        f"The same buyers' {compared['metric']} less that of **{best}**, the best here (chosen on these buyers, which "
        "flatters its lead a little):"
    )
    return f"{head}\n\n" + table(["model", "difference", "p", "p, Holm", f"than {best}"], rows)


def oracle_table(report: "Report") -> str:
    """One row a model: its NDCG, and which share of the oracle's that is, in each view."""
    views = [view for view in ("all", *report.views) if report.oracle.get(view, {}).get(PRIMARY_METRIC)]
    rows = []
    for name in report.models:
        cells = []
        for view in views:
            value = (report.models if view == "all" else report.views[view])[name][PRIMARY_METRIC][0]
            share = "" if value is None else f" ({value / report.oracle[view][PRIMARY_METRIC]:.0%})"
            cells.append(figure(value) + share)
        rows.append([name, *cells])
    rows.append(["*oracle*", *(figure(report.oracle[view][PRIMARY_METRIC]) for view in views)])
    return table(["model", *(f"{PRIMARY_METRIC}, {view}" for view in views)], rows)


def slices_table(report: "Report") -> str:
    """One row a part; the most telling models side by side: the best ones over all buyers, and popularity."""
    means = {name: values[PRIMARY_METRIC][0] for name, values in report.models.items()}
    shown = sorted(means, key=lambda name: _defined_first(means[name]))[:BESIDE]
    shown += [name for name in ("popularity",) if name in means and name not in shown]
    rows = [
        [name, str(part["n_users"]), *(with_interval(part["models"][model][PRIMARY_METRIC]) for model in shown)]
        for name, part in report.slices.items()
    ]
    return table(["buyers", "number", *shown], rows)


def criteria_table(report: "Report", model: str) -> str:
    """Target, reached, the oracle's figure where one is known, ceiling, share of the ceiling, protocol."""
    rows, best = [], report.oracle.get("all", {})
    for row in report.criteria(model):
        reached, ceiling, reaches = row["reached"], row["ceiling"], met(row)
        share = f"{reached / ceiling:.0%}" if ceiling and reached is not None else "-"
        verdict = "-" if reaches is None else yes(reaches)
        highest = [*([figure(best.get(row["metric"]))] if best else []), figure(ceiling), share]
        rows.append([row["metric"], figure(row["target"]), figure(reached), verdict, *highest, row["protocol"]])
    oracle = ["oracle"] if best else []
    return table(["criterion", "target", "reached", "met", *oracle, "ceiling", "share of ceiling", "protocol"], rows)


def targets_table(report: "Report") -> str:
    """Each named model against its own targets: reached / target."""
    metrics = list(dict.fromkeys(row["metric"] for row in report.targets()))
    cells: dict[str, dict[str, str]] = {}
    for row in report.targets():
        beyond = row["ceiling"] is not None and row["target"] > row["ceiling"]
        told = f"{figure(row['reached'])} / {figure(row['target'])}{' †' if beyond else ''}"
        cells.setdefault(row["model"], {})[row["metric"]] = told
    rows = [[name, *(told.get(metric, "") for metric in metrics)] for name, told in cells.items()]
    rows.append(["*ceiling*", *(figure(report.ceilings["all"].get(metric)) for metric in metrics)])
    told = table(["model (reached / target)", *metrics], rows)
    return f"{told}\n\n† {OUT_OF_REACH}" if "†" in told else told


def cost_table(report: "Report") -> str:
    """Milliseconds a list, megabytes on disk, and what fitting took, where it was recorded."""
    rows = [
        [
            name,
            f"{times['p50']:.2f}",
            f"{times['p95']:.2f}",
            f"{report.megabytes[name]:.1f}",
            *(_rounded(report.costs.get(name, {}).get(fact)) for fact in ("fit_seconds", "peak_memory_mb")),
        ]
        for name, times in report.milliseconds.items()
    ]
    return table(["model", "ms a list, p50", "p95", "MB on disk", "s to fit", "MB at most in fitting"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def with_interval(cell: Cell) -> str:
    """0.123 [0.100, 0.150]."""
    value, low, high = cell
    return figure(value) if low is None or high is None else f"{figure(value)} [{low:.3f}, {high:.3f}]"


def figure(value: float | None) -> str:
    """Three digits, or a dash where the figure is undefined."""
    return "-" if value is None else f"{value:.3f}"


def yes(holds: bool) -> str:
    """A word for a table."""
    return "yes" if holds else "no"


def p_value(value: float | None) -> str:
    """Three digits, as far as there are any."""
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _best(models: Mapping[str, Mapping[str, Cell]], metric: str) -> float | None:
    known = [value for value in (values[metric][0] for values in models.values()) if value is not None]
    return max(known, default=None)


def _defined_first(value: float | None) -> tuple[bool, float]:
    """A key that sorts the highest figure first and undefined ones last."""
    return (value is None, -(value or 0.0))


def _bold(text: str, value: float | None, best: float | None) -> str:
    if not value or value != best:  # no bold zeros: where the best is 0, nothing was found
        return text
    number, space, interval = text.partition(" ")
    return f"**{number}**{space}{interval}"


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
