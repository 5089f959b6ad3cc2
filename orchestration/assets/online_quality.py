"""The asset that judges the served lists on what their users did next, day by day and by slice."""

from typing import Any

import dagster as dg
import pyarrow as pa

from monitoring.online.attribution import DAY, Attribution
from monitoring.online.daily import ONLINE_QUALITY
from monitoring.online.daily import online_quality as judge_days
from monitoring.online.page import as_markdown, plot_trend, select_days
from monitoring.online.reader import OnlineReader
from orchestration.assets.metadata import picture, show
from orchestration.io_manager import Lake
from orchestration.resources import Dataset, Datasets
from orchestration.settings import Settings
from recommenders.clock import now_us
from recommenders.datasets.spec import DatasetSpec
from recommenders.storage import schema
from recommenders.storage.feedback_tables import TRAINABLE

SHOWN_DAYS = 14
SHOWN_SLICES = ("version", "scene", "strategy", "user", "segment", "slot")
FEEDBACK_KINDS = {"addtocart": "cart", "transaction": "purchase"}  # event of a source -> kind of feedback


@dg.asset(group_name="monitoring", kinds={"duckdb", "parquet"})
def online_quality(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    lake: dg.ResourceParam[Lake],
) -> pa.Table:
    """Quality and business figures of the lists that were served, by day and slice, from the feedback store.

    It needs no other asset, so that a broken source does not stop it. Without a stored list the table is empty.
    """
    dataset = datasets[context.partition_key]
    earlier = stored_quality(lake, dataset.name)
    rules, now = attribution(settings, dataset.spec), now_us()
    reader = OnlineReader(settings.feedback_store, dataset.name)
    table = judge_days(reader, users_of(dataset), now, rules, settings.answer_days, earlier)
    show(context, metadata(table, dataset.name, settings, rules))
    return table


def stored_quality(lake: Lake, dataset: str) -> pa.Table | None:
    """The result of the last run; None if there is none, or one with other columns, of an earlier release."""
    if not lake.path(dataset, "online_quality", pa.Table).exists():
        return None
    found: pa.Table = lake.read(dataset, "online_quality", pa.Table)
    return found if found.schema.equals(ONLINE_QUALITY) else None


def attribution(settings: Settings, spec: DatasetSpec) -> Attribution:
    """The rules of the settings; an item is relevant for a list by the events of the data set's protocol."""
    kinds = {FEEDBACK_KINDS.get(event, event) for event in spec.protocol.relevant_events} & set(TRAINABLE)
    windows = settings.click_hours, settings.purchase_days, settings.session_minutes
    return Attribution(*windows, relevant=tuple(sorted(kinds)) or ("purchase",))


def users_of(dataset: Dataset) -> pa.Table:
    """The attributes of the users, from the newest tables; empty if there are none yet."""
    return schema.USERS.empty_table() if dataset.tables.current() is None else dataset.tables.read("users")


def metadata(table: pa.Table, name: str, settings: Settings, rules: Attribution) -> dict[str, Any]:
    """What the page of the asset shows: the last mature day, the trend, and the slices of that day."""
    found: dict[str, Any] = {"attribution": rules.describe()}
    if settings.answer_days < rules.longest / DAY + 2:
        found["warning"] = (
            f"lists are stored for {settings.answer_days} days, so no day becomes mature; allowed: "
            f"{rules.longest / DAY + 2:g} or more; set TRADEWIND_ANSWER_DAYS"
        )
    if not table.num_rows:
        return {**found, "days": "none: no list is stored yet; the service stores the answers of POST /predict"}
    found |= {
        "days": len(table["day"].unique()),
        "trend": picture(plot_trend(table, name), "trend"),
        "last days": dg.MetadataValue.md(as_markdown(select_days(table, days=SHOWN_DAYS))),
    }
    last = select_days(table, days=1, mature_only=True)
    if last.empty:
        return {**found, "last mature day": "none yet"}
    found["last mature day"] = str(last["day"].iloc[0])
    for by in SHOWN_SLICES:
        found[f"by {by}"] = dg.MetadataValue.md(as_markdown(select_days(table, by, days=1, mature_only=True)))
    return found
