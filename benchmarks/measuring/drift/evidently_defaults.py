"""Evidently with its defaults on the columns of a recommender log, as its guides show it."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from measuring.drift.logs import Log, days_before
from monitoring.drift.changes import GAP, REFERENCE

LABELS = ("item_id", "user_id", "category", "segment", "region", "hour")
NUMBERS = ("unit_price", "quantity", "rating")


def alarms(log: Log, n_windows: int, end: float) -> list[dict[str, Any]]:
    """The columns that Evidently flags in each of the last n_windows weeks, and their share; with our reference."""
    return [_alarm(log, days_before(end, 7 * week)) for week in range(n_windows)]


def _alarm(log: Log, end: float) -> dict[str, Any]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    before = days_before(end, 7 * (GAP + REFERENCE + 1)), days_before(end, 7 * (GAP + 1))
    frames = _frame(log, *before), _frame(log, days_before(end, 7), end)
    frames = tuple(frame[frames[0].columns.intersection(frames[1].columns)] for frame in frames)
    labels, numbers = ([name for name in kind if name in frames[0]] for kind in (LABELS, NUMBERS))
    definition = DataDefinition(categorical_columns=labels, numerical_columns=numbers)
    reference, current = (Dataset.from_pandas(frame, definition) for frame in frames)
    metrics = Report([DataDriftPreset()]).run(current, reference).dict()["metrics"]
    count = next(metric["value"] for metric in metrics if "count" in str(metric["value"]))
    return {"columns": int(count["count"]), "share": float(count["share"])}


def _frame(log: Log, start: float, end: float) -> pd.DataFrame:
    events = log.between(start, end)
    columns = {name: events[name].to_pandas() for name in ("item_id", "user_id", *NUMBERS)}
    columns["category"] = _attribute(events, "item_id", log.items, "category")
    columns |= {name: _attribute(events, "user_id", log.users, name) for name in ("segment", "region")}
    columns["hour"] = events["timestamp"].to_pandas().dt.hour.astype(str)
    return pd.DataFrame(columns).dropna(axis=1, how="all")


def _attribute(events: pa.Table, key: str, source: pa.Table, name: str) -> pd.Series:
    place = pc.index_in(events[key], source[key].combine_chunks())
    return pc.take(source[name].combine_chunks(), place).to_pandas()
