"""Online quality for people: a table of days, and the plot of a trend."""

import io
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from monitoring.online.slices import BY, MONEY, NO_LIST, RATIOS
from recommenders.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTTED = ("ndcg", "hit_rate", "click_through", "conversion", "revenue_per_session", "average_order")
COUNTS = {
    "shown_by": "counted by",
    "n_lists": "lists",
    "n_users": "users",
    "n_judged_users": "users judged",
    "n_sessions": "sessions",
}
INK, LINE, BAND = "#1f2933", "#2f6f9f", "#9db4c8"
# Of a figure of two rows. Fixed, because an automatic layout draws each figure twice, and these are drawn every hour.
MARGINS = {"left": 0.05, "right": 0.98, "top": 0.85, "bottom": 0.06, "hspace": 0.4, "wspace": 0.18}


def select_days(table: pa.Table, by: str = "all", days: int | None = None, mature_only: bool = False) -> pd.DataFrame:
    """The rows of one kind of slice, newest day first; of the last days with lists only.

    table: in daily.ONLINE_QUALITY. Raises ConfigurationError for an unknown kind of slice.
    """
    if by not in BY:
        raise ConfigurationError(f"by: got {by!r}; allowed: {', '.join(BY)}")
    found = table.to_pandas(date_as_object=True)
    if mature_only:
        found = found[found["mature"]]
    newest = sorted(found["day"].unique())[-days:] if days else found["day"].unique()
    found = found[(found["by"] == by) & found["day"].isin(newest)].copy()
    found["place"] = pd.to_numeric(found["value"], errors="coerce")  # slot 10 after slot 9
    order = ["day", "place", "value"]
    sorted_: pd.DataFrame = found.sort_values(order, ascending=[False, True, True], ignore_index=True)
    return sorted_.drop(columns="place")


def as_markdown(rows: pd.DataFrame) -> str:
    """A table of rows of select_days(); each figure with its 95 % interval, "-" where it is undefined."""
    days = rows["day"].astype(str).where(rows["mature"].astype(bool), rows["day"].astype(str) + " (not yet mature)")
    shown = {"day": days}
    if len(rows) and rows["by"].iloc[0] != rows["value"].iloc[0]:
        shown[rows["by"].iloc[0]] = rows["value"]
    shown |= {title: rows[name] for name, title in COUNTS.items()}
    for name in RATIOS:
        digits, columns = 2 if name in MONEY else 4, (rows[f"{name}{end}"] for end in ("", "_low", "_high"))
        cells = [_cell(value, low, high, digits) for value, low, high in zip(*columns, strict=True)]
        shown[name.replace("_", " ")] = pd.Series(cells, index=rows.index, dtype=object)
    shown["attributed revenue"] = rows["revenue"].map(lambda value: "-" if pd.isna(value) else f"{value:.2f}")
    table = pd.DataFrame(shown)
    if len(rows) and rows["by"].iloc[0] in ("slot", NO_LIST):  # slices to which some figures do not apply
        table = table.loc[:, ~table.isin(["-", 0]).all()]
    return str(table.to_markdown(index=False, disable_numparse=True))


def short_dates(axis: "Axes") -> None:
    """Few and short dates below an axis, such as "15 Mar", which need no rotation."""
    from matplotlib.dates import DateFormatter
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))  # whole days
    axis.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]


def plot_trend(table: pa.Table, title: str) -> bytes:
    """One panel for each of PLOTTED over the days, with the interval as a band; hollow marks: not yet mature. PNG."""
    from matplotlib.figure import Figure  # the import takes half a second

    rows = select_days(table).iloc[::-1]
    figure = Figure(figsize=(11, 5.2))
    figure.subplots_adjust(**MARGINS)
    for place, name in enumerate(PLOTTED, 1):
        axis = figure.add_subplot(2, 3, place)
        axis.fill_between(rows["day"], rows[f"{name}_low"], rows[f"{name}_high"], color=BAND, alpha=0.5, linewidth=0)
        axis.plot(rows["day"], rows[name], color=LINE, linewidth=1.2)
        for mature, fill in ((True, LINE), (False, "white")):
            chosen = rows[rows["mature"] == mature]
            axis.plot(chosen["day"], chosen[name], "o", markersize=4, color=LINE, markerfacecolor=fill)
        axis.set_title(name.replace("_", " "), fontsize=10, color=INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        short_dates(axis)
    figure.suptitle(f"{title}\nband: 95 % interval, hollow: not yet mature", fontsize=9, color=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _cell(value: float, low: float, high: float, digits: int) -> str:
    if pd.isna(value):
        return "-"
    interval = "" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"
