"""Plots of metrics and learning curves as PNG."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recommenders.evaluation.fold_report import CrossValidation
    from recommenders.evaluation.report import Report

PLOTTED = ("ndcg", "precision", "recall", "map", "coverage", "diversity")  # one panel each

DPI = 90  # three panels per row then fit the dialog in which Dagster shows images
PER_ROW = 3
INK, BAR, BEST, LIMIT = "#1f2933", "#9db4c8", "#2f6f9f", "#b44d3b"


def plot_report(report: "Report") -> bytes:
    """The metrics of the view "all", with intervals and ceilings, as PNG."""
    return plot_models(report.models, report.ceilings["all"], f"{report.dataset}: {report.protocol}")


def plot_models(
    models: Mapping[str, Mapping[str, Sequence[float | None]]], ceilings: Mapping[str, float], title: str
) -> bytes:
    """One panel per metric of PLOTTED, one bar per model with its interval, the ceiling as a dashed line; PNG."""
    full_names = {metric.partition("@")[0]: metric for metric in next(iter(models.values()))}
    metrics = [full_names[name] for name in PLOTTED if name in full_names]
    rows = -(-len(metrics) // PER_ROW)
    width, height = 3.4 * min(len(metrics), PER_ROW) + 1.6, rows * (0.36 * len(models) + 0.8) + 0.7
    figure, axes = _figure(len(metrics), width, height, PER_ROW)
    names = list(models)
    for axis, metric in zip(axes, metrics, strict=True):
        values = [models[name][metric][0] for name in names]
        best = max((value for value in values if value is not None), default=None)
        widths = [math.nan if value is None else value for value in values]  # no bar for an undefined value
        axis.barh(names, widths, color=[BEST if value == best else BAR for value in values], height=0.62)
        for place, name in enumerate(names):
            value, low, high = models[name][metric]
            if value is not None and low is not None and high is not None:
                axis.plot([low, high], [place, place], color=INK, linewidth=1.4)
            axis.annotate(
                "undefined" if value is None else f"{value:.3f}",
                (high or value or 0, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
        if metric in ceilings:
            axis.axvline(ceilings[metric], color=LIMIT, linestyle="--", linewidth=1.2)
        axis.set_xlim(0, 1.18)
        axis.set_title(metric, fontsize=10, color=INK)
        axis.invert_yaxis()
    figure.suptitle(f"{title}\nbars: mean over users, lines: 95 % interval, dashed: ceiling", fontsize=9, color=INK)
    return _png(figure)


def plot_folds(found: "CrossValidation", metric: str) -> bytes:
    """One panel: a dot per fold and model, and the mean over all folds with its interval; PNG."""
    names = found.models
    figure, (axis,) = _figure(1, 0.8 * len(names) + 3.0, 3.4)
    for place, name in enumerate(names):
        values = [fold.models[name][metric][0] for fold in found.folds if name in fold.models]
        dots = [value for value in values if value is not None]
        axis.plot([place + 0.15] * len(dots), dots, "o", color=BAR, markersize=4)
        value, low, high = found.pooled.get(name, {}).get(metric, (None, None, None))
        if value is not None:
            axis.plot([place], [value], "o", color=BEST, markersize=6)
        if low is not None and high is not None:
            axis.plot([place, place], [low, high], color=INK, linewidth=1.4)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_ylim(bottom=0)
    axis.set_ylabel(metric, fontsize=9)
    axis.set_xlim(-0.5, len(names) - 0.5)
    title = f"{found.dataset}, {found.plan.scheme}: {len(found.folds)} folds"
    figure.suptitle(f"{title}\nlarge: all folds, 95 % interval; small: one fold", fontsize=9, color=INK)
    return _png(figure)


def plot_learning_curve(curve: Sequence[Mapping[str, float]]) -> bytes:
    """One panel per metric over the epochs; PNG. Raises ValueError if the curve is empty."""
    if not curve:
        raise ValueError("the learning curve has no points; plot it after a fit that reported some")
    metrics = [name for name in curve[0] if name != "epoch"]
    epochs = [int(point.get("epoch", place)) for place, point in enumerate(curve, 1)]
    figure, axes = _figure(len(metrics), width=3.6 * len(metrics), height=2.8)
    for axis, metric in zip(axes, metrics, strict=True):
        axis.plot(epochs, [point.get(metric, float("nan")) for point in curve], color=BEST, marker="o", markersize=3)
        axis.set_title(metric, fontsize=10, color=INK)
        axis.set_xlabel("epoch", fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return _png(figure)


def _figure(n_panels: int, width: float, height: float, per_row: int | None = None) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure  # the import takes half a second, and only reports need it

    figure = Figure(figsize=(width, height), layout="constrained")
    columns = min(per_row or n_panels, n_panels)
    axes = [figure.add_subplot(-(-n_panels // columns), columns, place + 1) for place in range(n_panels)]
    for place, axis in enumerate(axes):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8, labelleft=place % columns == 0)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
