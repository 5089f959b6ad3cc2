"""Writes a data set's profile as a page: Markdown tables, and a PNG figure."""

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recommenders.datasets.profile.profiling import DatasetProfile, Figures

INK, BAR, BEST, LIMIT = "#1f2933", "#9db4c8", "#2f6f9f", "#b44d3b"  # as in recommenders.evaluation.writers.plots
QUIET = "#f3dcd6"
# Columns whose nulls have a meaning: no start, still on sale, never returned.
MEANINGFUL_NULLS = ("valid_from", "available_until", "returned_quantity", "returned_at")
MANY_BARS = 200  # with more bars the edges would hide them
WIDTH = {"day": timedelta(days=1), "week": timedelta(days=7)}


def render(found: "DatasetProfile") -> str:
    """The whole page as Markdown."""
    sections = [
        f"# {found.dataset or 'A data set'}: profile",
        _summary(found.log),
        "## Rows by outcome\n\n" + _rows_table(found.rows),
        "## The log\n\n" + table(["figure", "value"], list(_log_rows(found))),
        "## Long tail\n\n" + _tail(found),
        *(f"## Users by {column}\n\n" + _values_table(rows, "users") for column, rows in found.users_by.items()),
    ]
    if found.items_by_category:
        sections.append("## Items by category\n\n" + _values_table(found.items_by_category, "items"))
    sections.append("## Missing values\n\n" + _missing(found.missing))
    if found.quarantine:
        sections.append("## Quarantine\n\n" + _quarantine_table(found.quarantine))
    return "\n\n".join(sections) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def percent(share: float | None) -> str:
    """12.3 %, two digits below 1 %; a dash for None."""
    if share is None:
        return "-"
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """1,234 or 12.3; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def cell(text: str | None) -> str:
    """A text of the data, escaped for a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split()) if text else "(unknown)"


def _summary(log: "Figures") -> str:
    if not log["events"]:
        return "No events."
    who = f"{_count(log['events'], 'event')} of {_count(log['users'], 'user')} and {_count(log['items_sold'], 'item')}"
    when = f"{log['first_event'][:10]} to {log['last_event'][:10]}"
    return f"{who}, {when}: {_count(log['days'], 'day')}, {number(log['active_days'])} of them with events."


def _count(n: int, what: str) -> str:
    return f"{number(n)} {what}" + "s" * (n != 1)


def _rows_table(rows: "Figures") -> str:
    named = {
        "read": rows["read"],
        "**kept**": rows["kept"],
        "kept rows that are feedback": rows["feedback"],
        "exact duplicates, merged": rows["merged"],
        "returns, netted against their purchase": rows["netted"],
        **{f"excluded: {cell(reason)}": n for reason, n in rows["set_aside"].items()},
        "quarantined: invalid": rows["quarantined"],
    }
    shown = {what: n for what, n in named.items() if n or what in ("read", "**kept**")}
    return table(
        ["rows", "number", "share"], [[w, number(n), percent(n / max(rows["read"], 1))] for w, n in shown.items()]
    )


def _log_rows(found: "DatasetProfile") -> Iterator[list[str]]:
    """(figure, value) of the log; figures that the data set does not have are left out."""
    log, orders, snapshots, returns = found.log, found.orders, found.snapshots, found.returns
    for kind, n in found.events.items():
        yield [f"events: {cell(kind)}", number(n)]
    yield ["users with events / in the table", f"{number(log['users'])} / {number(log['users_in_table'])}"]
    yield ["items with events / in the catalogue", f"{number(log['items_sold'])} / {number(log['items_in_catalogue'])}"]
    yield ["first event, last event (UTC)", f"{_time(log['first_event'])}, {_time(log['last_event'])}"]
    if silence := log["longest_silence"]:
        yield ["longest time without events", f"{number(silence['days'])} days from {silence['from_day']}"]
    yield ["density: pairs of user and item that have events", percent(log["density"])]
    yield ["repeats: events whose user had the item before", percent(log["repeat_share"])]
    if orders["orders"]:
        lines = f"mean {number(orders['lines_mean'])}, median {number(orders['lines_median'])}"
        yield ["orders", number(orders["orders"])]
        yield ["lines per order", f"{lines}, most {number(orders['lines_max'])}"]
    if returns["lines"]:
        after = f"half of them within {number(returns['median_days'])} days"
        yield ["returned lines", f"{number(returns['lines'])} ({percent(returns['share'])}), {after}"]
    if snapshots["times"]:
        span = f"{snapshots['first'][:10]} to {snapshots['last'][:10]}"
        changed = f"{_count(snapshots['items_that_changed'], 'item')} changed"
        yield ["item snapshots", f"{number(snapshots['rows'])}, {span}; {changed}"]


def _time(text: str | None) -> str:
    return "-" if text is None else text[:16].replace("T", " ")


def _tail(found: "DatasetProfile") -> str:
    tail, users = found.long_tail, found.events_a_user
    rows = [
        [
            "Gini of events over items (0: all equal, 1: one item has all)",
            "-" if tail["gini"] is None else f"{tail['gini']:.2f}",
        ]
    ]
    rows += [
        [f"events of the top {100 * float(part):g} % of items", percent(share)] for part, share in tail["top"].items()
    ]
    names = ("least", "first_quartile", "median", "third_quartile", "most")
    spread = " / ".join(number(users[name]) for name in names)
    rows.append(["events per user: least / quartile / median / quartile / most", spread])
    return table(["figure", "value"], rows)


def _values_table(rows: Sequence["Figures"], what: str) -> str:
    head = ["value", what, f"share of {what}", "share of events"]
    return table(
        head,
        [
            [cell(r["value"]), number(r[what]), percent(r[f"share_of_{what}"]), percent(r["share_of_events"])]
            for r in rows
        ],
    )


def _missing(tables: Mapping[str, Mapping[str, float]]) -> str:
    """One row per table: the columns without any value, and the columns with some nulls."""
    rows = []
    for name, shares in tables.items():
        never = [column for column, share in shares.items() if share == 1]
        partly = [
            f"{column} {percent(share)}"
            for column, share in shares.items()
            if 0 < share < 1 and column not in MEANINGFUL_NULLS
        ]
        if shares and name != "quarantine":
            rows.append([name, ", ".join(never) or "-", ", ".join(partly) or "-"])
    return table(["table", "not in this source", "empty in part of the rows"], rows) if rows else "No tables."


def _quarantine_table(rows: Sequence["Figures"]) -> str:
    head = ["reason", "rows", "example", "its row"]
    return table(head, [[cell(r["reason"]), number(r["rows"]), _place(r), _code(r["raw"])] for r in rows])


def _place(row: "Figures") -> str:
    return cell(row["file"]) + (f", line {row['line']}" if row["line"] is not None else "")


def _code(raw: str | None) -> str:
    text = " ".join((raw or "").replace("`", "'").replace("|", "\\|").split())
    return f"`{text}`" if text else "(nothing)"


def draw(found: "DatasetProfile") -> bytes:
    """A PNG figure: the long tail as a curve, and events over time as bars, with times without events shaded."""
    from matplotlib.figure import Figure  # the import takes half a second, and only pages need it

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    tail, time = figure.subplots(1, 2, width_ratios=[1, 2.1])
    for axis in (tail, time):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    _draw_tail(tail, found.long_tail)
    _draw_activity(time, found.activity)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    return buffer.getvalue()


def _draw_tail(axis: Any, tail: "Figures") -> None:
    """Share of events against share of items, best sellers first."""
    axis.set_title("Long tail (dashed: all items equal)", fontsize=10, color=INK)
    axis.set_xlabel("share of items, best sellers first", fontsize=9)
    axis.set_ylabel("share of events", fontsize=9)
    axis.plot([0, 1], [0, 1], color=LIMIT, linestyle="--", linewidth=1)
    if tail["curve"]:
        axis.plot(*zip(*tail["curve"], strict=True), color=BEST, linewidth=1.8)
    for part, share in tail["top"].items():
        axis.plot([float(part)], [share], "o", color=BEST, markersize=4)
        axis.annotate(
            f"top {100 * float(part):g} %: {100 * share:.0f} %",
            (float(part), share),
            xytext=(8, -9),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    _percent_axes(axis)


def _percent_axes(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_xlim(0, 1.01)
    axis.set_ylim(0, 1.03)
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.yaxis.set_major_formatter(PercentFormatter(1))


def _draw_activity(axis: Any, activity: "Figures") -> None:
    """One bar per day or week; the background is shaded where there are no events."""
    period, starts = activity["period"], [date.fromisoformat(start) for start in activity["starts"]]
    width, edge = WIDTH[period], 0.3 if len(starts) <= MANY_BARS else 0
    axis.set_title(f"Events per {period} (shaded: no events)", fontsize=10, color=INK)
    axis.bar(starts, activity["events"], width=width, align="edge", color=BEST, edgecolor="white", linewidth=edge)
    for before, after in pairwise(starts):
        if after > before + width:
            axis.axvspan(before + width, after, color=QUIET, linewidth=0)
    if starts:
        axis.set_xlim(starts[0], max(starts[-1] + width, starts[0] + 7 * width))
    _time_axes(axis)


def _time_axes(axis: Any) -> None:
    dates: Any = import_module("matplotlib.dates")  # this module is only partly typed
    locator = dates.AutoDateLocator(minticks=3)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.set_ylim(bottom=0)
