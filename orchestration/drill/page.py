"""The page of a played scenario: plots of the lists' quality, click-through and revenue, and what the platform did."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestration.drill.figures import Figures, alarm
from orchestration.drill.play import Day, Record
from orchestration.drill.scenarios import SCENARIOS, WEEK
from orchestration.drill.shop import K

COLOURS = {"oracle": "#9db4c8", "retrained": "#6a9a5b", "never retrained": "#b44d3b", "served": "#2f6f9f"}
NAMES = {"retrained": "an oracle's retraining", "oracle": "the oracle", "served": "Tradewind"}
INK = "#1f2933"
PLOTS = (
    ("NDCG@10, expected, as a share of the oracle's", "ndcg", 1.0),
    ("click-through: bought items of the list / shown items", "bought", float(K)),
    ("revenue from the list, per visit", "revenue", 1.0),
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } img { width: 100% }
table { border-collapse: collapse } td, th { text-align: left; padding: .25rem .9rem .25rem 0; vertical-align: top;
border-bottom: 1px solid #dde3e8 }
td:first-child { white-space: nowrap } .figures td:first-child { white-space: normal }
.critical { color: #b44d3b } .warning { color: #8a6d1d }
"""
LABELS = {
    "detect_days": "days from the change to the first alarm",
    "detected_by": "the first alarm",
    "retrain_days": "days from the change to the retraining",
    "recover_days": "days from the change to the recovery",
    "ndcg_share": "NDCG in the second week after the alarm, as a share of that of an oracle's retraining",
    "regained": "share of the loss that is regained by then",
    "rollback_days": "days until the version before serves again",
    "heal_days": "days until the feed has no fault any more",
    "false_alarms": "false alarms",
    "needless_retrainings": "needless retrainings",
    "retrainings": "retrainings",
    "promotions": "promotions",
    "wrong_promotions": "promotions after which the lists were worse",
    "regret": "purchases per visit that the oracle's lists would have had in addition",
    "gained": "purchases per visit more than without retraining",
    "gained_revenue": "revenue per visit more than without retraining",
}


def page(record: Record, found: Figures) -> str:
    """The page as HTML in one file, which loads nothing."""
    picture = base64.b64encode(plot(record)).decode()
    scenario = html.escape(SCENARIOS[record.scenario].what)
    rows = "".join(f"<tr><td>{LABELS[key]}</td><td>{value}</td></tr>" for key, value in shown(found))
    events = "".join(
        f'<tr><td>{date}</td><td class="{html.escape(kind)}">{html.escape(text)}</td></tr>'
        for date, kind, text in happened(record.days)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Drill: {record.scenario}</title>'
        f"<style>{STYLE}</style><h1>Drill: {record.scenario}</h1>"
        f"<p>From day {record.change + 1} on: {scenario}. {len(record.days)} days, seed {record.seed}. "
        "All lists are for the same visits of the same simulated users, which do not depend on the lists.</p>"
        f'<img alt="Quality, click-through and revenue by day" src="data:image/png;base64,{picture}">'
        f"<h2>Figures</h2><table class='figures'>{rows}</table><h2>What happened</h2><table>{events}</table></html>"
    )


def shown(found: Figures) -> Iterator[tuple[str, str]]:
    """The figures that the scenario has, as text."""
    for one in fields(found):
        value = getattr(found, one.name)
        if one.name in LABELS and value not in (None, ""):
            yield one.name, f"{value:.3f}" if isinstance(value, float) else str(value)


def happened(days: Sequence[Day]) -> Iterator[tuple[str, str, str]]:
    """(date, severity, text) of alarms, alerts, runs and changes of the version, in order."""
    version = days[0].version
    for day in days:
        for alert in day.alerts:
            if alert["kind"] != "reminder":
                ended = " (over)" if alert["kind"] == "resolved" else ""
                yield day.date, alert["severity"], f"alert: {alert['title']}{ended}"
        for decision in day.decisions:
            yield day.date, "", f"{decision['decision']}: {'yes' if decision['done'] else 'no'}; {decision['reason']}"
        for run in day.runs:
            outcome = "" if run["succeeded"] else f", failed: {run['reason'].splitlines()[0]}"
            yield day.date, "", f"run for {run['cause']}{outcome}"
        if day.version != version:
            version = day.version
            yield day.date, "", f"version {version} serves"


def plot(record: Record) -> bytes:
    """Means over the last seven days, with the change, the alarms and the versions; PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9.5), layout="constrained")
    axes = figure.subplots(len(PLOTS), 1, sharex=True)
    for axis, (title, value, divisor) in zip(axes, PLOTS, strict=True):
        for name, colour in COLOURS.items():
            if value == "ndcg" and name == "oracle":
                continue
            values = weekly_means(record.days, name, value) / divisor
            axis.plot(range(1, len(values) + 1), values, color=colour, label=NAMES.get(name, name), linewidth=1.8)
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.spines[["top", "right"]].set_visible(False)
        mark(axis, record)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    axes[-1].set_xlabel("day of the drill; each point is the mean of the seven days up to it")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    return buffer.getvalue()


def mark(axis: Any, record: Record) -> None:
    """Draws the change, the days with an alarm, and the changes of the version into a plot."""
    if record.scenario != "none":
        axis.axvline(record.change + 1, color=INK, linestyle="--", linewidth=1)
        axis.text(record.change + 1, 1.0, " the change", transform=axis.get_xaxis_transform(), fontsize=8, va="top")
    alarms = [number for number, day in enumerate(record.days, 1) if alarm(day)]
    at_bottom = axis.get_xaxis_transform()
    axis.plot(alarms, [0.03] * len(alarms), "v", color="#c58b1f", transform=at_bottom, label="alarm", markersize=5)
    version = record.days[0].version
    for number, day in enumerate(record.days, 1):
        if day.version != version:
            version = day.version
            axis.axvline(number + 0.5, color="#6a9a5b", linestyle=":", linewidth=1)
            axis.text(number + 0.6, 0.9, f"v{version}", transform=at_bottom, fontsize=8, color="#4c7a3d", va="top")


def weekly_means(days: Sequence[Day], name: str, value: str) -> NDArray[np.float64]:
    """(n_days,) the mean per visit over the seven days up to each day; nan where there is no list of that name."""
    sums = np.array([day.values.get(name, {}).get(value, np.nan) for day in days])
    visits = np.array([day.n_visits if name in day.values else np.nan for day in days])
    windows = [slice(max(end - WEEK, 0), end) for end in range(1, len(days) + 1)]
    known = [np.isfinite(sums[window]) & np.isfinite(visits[window]) for window in windows]
    return np.array(
        [
            sums[w][k].sum() / visits[w][k].sum() if k.any() and visits[w][k].sum() else np.nan
            for w, k in zip(windows, known, strict=True)
        ]
    )
