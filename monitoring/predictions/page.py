"""Prediction drift for people: tables of the figures, and a plot of the days."""

import io
from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from monitoring.drift.judgement import ColumnDrift
from monitoring.online.page import INK, MARGINS, short_dates
from monitoring.predictions.drift import PredictionDrift
from monitoring.predictions.served import FIGURES

MAX_LINES = 5  # values of a figure in the plot, the most frequent ones


def drift_table(found: PredictionDrift) -> str:
    """A Markdown table: each figure of the newest window with its score and limit, and the figures not tested."""
    rows = [
        f"| {c.name} | {c.cause} | {c.score:.1f} | {c.threshold:.1f} | {'drifted' if c.drifted else 'no drift'} |"
        for c in found.columns
    ]
    untested = [f"| {why} | | | | not tested |" for why in found.not_tested]
    head = ["| figure | change | standard errors | limit | verdict |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, *untested])


def release_table(columns: Sequence[ColumnDrift]) -> str:
    """A Markdown table of the same figures at a release; no verdict, because a release changes lists by design."""
    rows = [f"| {c.name} | {c.cause} | {c.score:.1f} |" for c in columns]
    return "\n".join(["| figure | other versions before -> first window | standard errors |", "|---|---|---|", *rows])


def plot_days(days: pd.DataFrame, found: PredictionDrift, released: datetime) -> bytes:
    """One panel for each figure over the days, with a line at the release of the champion. PNG.

    days: from served.days().
    """
    from matplotlib.figure import Figure  # the import takes half a second

    figure = Figure(figsize=(11, 5.2))
    figure.subplots_adjust(**MARGINS)
    axes = figure.subplots(2, 4, sharex=True).ravel()
    for axis, name in zip(axes, FIGURES, strict=False):
        table = days[days["figure"] == name].pivot(index="day", columns="value", values="y").fillna(0.0)
        if "false" in table:
            table = (1 - table[["false"]]).rename(columns={"false": "true"})
        shown = table.sum().nlargest(MAX_LINES).index
        for value in shown:
            axis.plot(pd.to_datetime(table.index, unit="D"), table[value], "o-", markersize=3, label=value)
        axis.axvline(released.timestamp() / 86_400, color=INK, linewidth=0.8, linestyle=":")
        axis.set_title(name, fontsize=10, color=INK)
        if len(shown) > 1:
            axis.legend(fontsize=6, framealpha=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        short_dates(axis)
    axes[-1].axis("off")
    figure.suptitle(
        f"{found.dataset}: what the lists show\ndotted: the release of version {found.version}", fontsize=9, color=INK
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
