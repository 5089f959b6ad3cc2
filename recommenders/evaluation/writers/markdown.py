"""Renders the evaluation report as Markdown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recommenders.evaluation.criteria import met
from recommenders.metrics.ranking import FORMULAS, PRIMARY_METRIC

if TYPE_CHECKING:
    from recommenders.evaluation.report import Report

LEGEND = (
    "Novelty: self-information of an item in bits, from the share of users who had it. Serendipity: share of places "
    "with a relevant item that is not among the most popular items. Popularity lift: mean users per recommended item, "
    "divided by mean users per item of the user's history, minus one. Personalisation: share of places in which the "
    "lists of two users differ. Gini: 0 if all items are recommended equally often, 1 if few items take every place."
)
OUT_OF_REACH = "*above the ceiling: no model can reach it with this protocol*"
SLICE_MODELS = 4  # best models in the table of slices

Cell = Sequence[float | None]


def render(report: "Report") -> str:
    """The page: models, views, comparisons, slices, criteria and cost."""
    named = preferred_model(report)
    sections = [
        f"# Evaluation of {report.dataset or 'a log'}",
        f"{report.protocol}. Cut: {report.cut or 'given by files'}. {report.n_users} users; left out without "
        f"earlier events: {report.cold_users} users, {report.cold_items} items. Intervals are 95 % bootstraps over "
        "users; the best value of a column is bold.",
        *view_sections(report, "all", report.models),
        *(text for view, models in report.views.items() for text in view_sections(report, view, models)),
    ]
    sections += [cold_section(name, found) for name, found in report.cold.items()]
    if report.oracle:
        sections.append("## Share of the oracle\n\n" + oracle_table(report))
    sections += [reliability_section(name, found) for name, found in report.reliability.items()]
    if report.slices:
        sections.append(f"## {PRIMARY_METRIC} by user slice\n\n" + slices_table(report))
    if report.wanted:
        sections.append(f"## Success criteria, {named}\n\n" + criteria_table(report, named))
    if report.targets():
        sections.append("## Targets of each model\n\n" + targets_table(report))
    sections.append("## Cost\n\n" + cost_table(report))
    return "\n\n".join(sections) + "\n"


def preferred_model(report: "Report") -> str:
    """The model of the criteria table: hybrid_learned or else hybrid, if evaluated; else the best model."""
    best = report.comparisons.get("all", {}).get("best") or next(iter(report.models))
    return next((name for name in ("hybrid_learned", "hybrid") if name in report.models), best)


def view_sections(report: "Report", view: str, models: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """The sections of one view: accuracy, comparison with the best model, and beyond-accuracy metrics."""
    undefined = report.undefined[view]["users"]
    title = "## All items" if view == "all" else f"## {view.capitalize()}"
    note = f"{undefined} users have no relevant items here and are not counted.\n\n" if undefined else ""
    beyond = [metric for metric in next(iter(models.values())) if not accuracy(metric)]
    if view != "all":  # drop metrics that are the same as in the view "all"
        beyond = [m for m in beyond if any(models[name][m] != report.models[name][m] for name in models)]
    table_of_lists = plain_table(models, beyond, report.ceilings[view]) if beyond else ""
    sections = [
        f"{title}\n\n{note}" + metrics_table(models, report.ceilings[view], report.oracle.get(view, {})),
        comparison_table(report.comparisons[view]) if report.comparisons.get(view, {}).get("others") else "",
        f"{table_of_lists}\n\n{LEGEND}" if view == "all" else table_of_lists,
    ]
    return [section for section in sections if section]


def cold_section(name: str, found: Mapping[str, Any]) -> str:
    """The section of a further task: description, accuracy, and comparison with the best model."""
    compared = found["comparison"]
    any_hits = compared.get("others") and found["models"][compared["best"]][compared["metric"]][0]
    return "\n\n".join(
        [
            f"## {name.capitalize()}",
            f"{found['description'].capitalize()}. {found['n_users']} users.",
            metrics_table(found["models"], found["ceilings"]),
            *([comparison_table(compared)] if any_hits else []),
        ]
    )


def reliability_section(name: str, found: Mapping[str, Any]) -> str:
    """The section of one model's calibration: predicted probability and observed share of bought items, by bin."""
    rows = [[f"{one['items']:,}", number(one["predicted"]), number(one["observed"])] for one in found["bins"]]
    return "\n\n".join(
        [
            f"## Calibration of {name}",
            "The score of the service is the probability that a user buys the item in the window. All items of the "
            f"lists, by probability. Expected calibration error: {number(found['expected_calibration_error'])}.",
            table(["items", "mean probability", "share bought"], rows),
        ]
    )


def accuracy(metric: str) -> bool:
    """Whether a metric is an accuracy metric."""
    return metric.partition("@")[0] in FORMULAS


def metrics_table(
    models: Mapping[str, Mapping[str, Cell]], ceilings: Mapping[str, float], oracle: Mapping[str, float] | None = None
) -> str:
    """One row per model with its accuracy and intervals; below it the oracle, if there is one, and the ceiling."""
    metrics = [metric for metric in next(iter(models.values())) if accuracy(metric)]
    best = {metric: _best(models, metric) for metric in metrics}
    rows = [
        [name, *(_bold(with_interval(values[m]), values[m][0], best[m]) for m in metrics)]
        for name, values in models.items()
    ]
    if oracle:
        rows.append(["*oracle*", *(number(oracle.get(metric)) for metric in metrics)])
    rows.append(["*ceiling*", *(number(ceilings.get(metric)) for metric in metrics)])
    return table(["model", *metrics], rows)


def plain_table(models: Mapping[str, Mapping[str, Cell]], metrics: Sequence[str], ceilings: Mapping[str, float]) -> str:
    """One row per model, without intervals; the ceiling below."""
    rows = [[name, *(number(values[metric][0]) for metric in metrics)] for name, values in models.items()]
    rows.append(["*ceiling*", *(number(ceilings.get(metric)) for metric in metrics)])
    return table(["model", *metrics], rows)


def comparison_table(compared: Mapping[str, Any]) -> str:
    """The best model and each other model: their paired difference, its p-values, and the verdict."""
    ordered = sorted(compared["others"].items(), key=lambda other: _defined_first(other[1]["difference"][0]))
    rows = [
        [name, with_interval(found["difference"]), p_value(found["p"]), p_value(found["p_holm"]), found["verdict"]]
        for name, found in ordered
    ]
    best = compared["best"]
    head = (
        f"{compared['metric']} minus that of **{best}**, paired by user. {best} is the best model here; it was chosen "
        "on the same users, so its lead is slightly too large:"
    )
    return f"{head}\n\n" + table(["model", "difference", "p", "p, Holm", f"than {best}"], rows)


def oracle_table(report: "Report") -> str:
    """One row per model: its NDCG in each view, and its share of the oracle's NDCG."""
    views = [view for view in ("all", *report.views) if report.oracle.get(view, {}).get(PRIMARY_METRIC)]
    rows = []
    for name in report.models:
        cells = []
        for view in views:
            value = (report.models if view == "all" else report.views[view])[name][PRIMARY_METRIC][0]
            share = "" if value is None else f" ({value / report.oracle[view][PRIMARY_METRIC]:.0%})"
            cells.append(number(value) + share)
        rows.append([name, *cells])
    rows.append(["*oracle*", *(number(report.oracle[view][PRIMARY_METRIC]) for view in views)])
    return table(["model", *(f"{PRIMARY_METRIC}, {view}" for view in views)], rows)


def slices_table(report: "Report") -> str:
    """One row per slice; one column per model: the best models over all users, and popularity."""
    means = {name: values[PRIMARY_METRIC][0] for name, values in report.models.items()}
    shown = sorted(means, key=lambda name: _defined_first(means[name]))[:SLICE_MODELS]
    shown += [name for name in ("popularity",) if name in means and name not in shown]
    rows = [
        [name, str(found["n_users"]), *(with_interval(found["models"][model][PRIMARY_METRIC]) for model in shown)]
        for name, found in report.slices.items()
    ]
    return table(["users", "number", *shown], rows)


def criteria_table(report: "Report", model: str) -> str:
    """Target, reached value, the oracle's value if known, ceiling, share of the ceiling, protocol."""
    rows, best = [], report.oracle.get("all", {})
    for row in report.criteria(model):
        reached, ceiling, reaches = row["reached"], row["ceiling"], met(row)
        share = f"{reached / ceiling:.0%}" if ceiling and reached is not None else "-"
        verdict = "-" if reaches is None else yes(reaches)
        highest = [*([number(best.get(row["metric"]))] if best else []), number(ceiling), share]
        rows.append([row["metric"], number(row["target"]), number(reached), verdict, *highest, row["protocol"]])
    oracle = ["oracle"] if best else []
    return table(["criterion", "target", "reached", "met", *oracle, "ceiling", "share of ceiling", "protocol"], rows)


def targets_table(report: "Report") -> str:
    """Each model with its own targets: reached / target."""
    metrics = list(dict.fromkeys(row["metric"] for row in report.targets()))
    cells: dict[str, dict[str, str]] = {}
    for row in report.targets():
        beyond = row["ceiling"] is not None and row["target"] > row["ceiling"]
        text = f"{number(row['reached'])} / {number(row['target'])}{' †' if beyond else ''}"
        cells.setdefault(row["model"], {})[row["metric"]] = text
    rows = [[name, *(texts.get(metric, "") for metric in metrics)] for name, texts in cells.items()]
    rows.append(["*ceiling*", *(number(report.ceilings["all"].get(metric)) for metric in metrics)])
    page = table(["model (reached / target)", *metrics], rows)
    return f"{page}\n\n† {OUT_OF_REACH}" if "†" in page else page


def cost_table(report: "Report") -> str:
    """Milliseconds per list, megabytes on disk, and the cost of fitting, if it was recorded.

    Below it the size of the context, which is no part of the models' sizes.
    """
    rows = [
        [
            name,
            f"{times['p50']:.2f}",
            f"{times['p95']:.2f}",
            f"{report.megabytes[name]:.1f}",
            *(_rounded(report.costs.get(name, {}).get(key)) for key in ("fit_seconds", "peak_memory_mb")),
        ]
        for name, times in report.milliseconds.items()
    ]
    page = table(["model", "ms per list, p50", "p95", "MB on disk", "s to fit", "peak MB of fitting"], rows)
    context = f"{report.context_megabytes:.1f} MB"
    note = f"`MB on disk` does not include the context (ids and histories). All models share it: {context}."
    return f"{page}\n\n{note}" if report.context_megabytes else page


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def with_interval(cell: Cell) -> str:
    """0.123 [0.100, 0.150]."""
    value, low, high = cell
    return number(value) if low is None or high is None else f"{number(value)} [{low:.3f}, {high:.3f}]"


def number(value: float | None) -> str:
    """Three digits, or a dash if the value is undefined."""
    return "-" if value is None else f"{value:.3f}"


def yes(holds: bool) -> str:
    """True as "yes", False as "no"."""
    return "yes" if holds else "no"


def p_value(value: float | None) -> str:
    """Three digits, "< 0.001" for smaller values, or a dash if undefined."""
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _best(models: Mapping[str, Mapping[str, Cell]], metric: str) -> float | None:
    known = [value for value in (values[metric][0] for values in models.values()) if value is not None]
    return max(known, default=None)


def _defined_first(value: float | None) -> tuple[bool, float]:
    """A sort key: the highest value first, undefined values last."""
    return (value is None, -(value or 0.0))


def _bold(text: str, value: float | None, best: float | None) -> str:
    if not value or value != best:  # no bold zeros: if the best value is 0, no model has a hit
        return text
    value_text, space, interval = text.partition(" ")
    return f"**{value_text}**{space}{interval}"


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
