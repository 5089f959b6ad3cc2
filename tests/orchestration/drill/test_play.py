"""A short drill with the real platform: service, Dagster instance, feedback store, registry, and its clock."""

import os
from datetime import date
from pathlib import Path

import pytest

from monitoring.online.page import select_days
from orchestration.assets.online_quality import stored_quality
from orchestration.drill import play as playing
from orchestration.io_manager import Lake
from orchestration.settings import Settings

DAYS, QUIET = 3, 1


def variables() -> dict[str, str]:
    """The variables of the environment that are the platform's."""
    return {name: value for name, value in os.environ.items() if name.startswith(("TRADEWIND_", "DAGSTER_"))}


@pytest.mark.slow
def test_the_platform_is_played_day_by_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad model is forced in on the second day; its lists are worse at once."""
    small = {"USERS": 60, "PRODUCTS": 80, "ORDERS_A_DAY": 12, "LOG_DAYS": 98, "QUIET_DAYS": QUIET}
    for name, value in small.items():
        monkeypatch.setattr(playing, name, value)
    monkeypatch.setenv("TRADEWIND_FEEDBACK_URL", "sqlite:////nowhere/events.db")  # of another platform
    before = variables()
    lines: list[str] = []
    record = playing.play("bad_model", DAYS, 5, tmp_path, echo=lines.append)

    assert variables() == before
    assert [day.date for day in record.days] == [f"2025-03-0{number}" for number in range(3, 3 + DAYS)]
    assert [day.version for day in record.days] == [1, 2, 2]
    first, last = record.days[:QUIET], record.days[QUIET:]
    for day in first:  # the service answered what the model in this process ranks
        assert day.ndcg["served"] == day.ndcg["never retrained"]
    for day in last:
        assert sum(day.ndcg["served"]) < 0.8 * sum(day.ndcg["never retrained"])
        assert day.ndcg["version before"] == day.ndcg["never retrained"]
    for day in record.days:
        assert day.values["oracle"]["ndcg"] == pytest.approx(day.n_visits)
        assert day.values["oracle"]["expected"] >= day.values["served"]["expected"]
        assert not [run for run in day.runs if not run["succeeded"]]
    settings = Settings.read(home=tmp_path, dataset="custom_b2b")
    table = stored_quality(Lake(root=str(settings.lake)), "custom_b2b")
    assert table is not None
    shown = select_days(table)
    assert set(shown["day"].astype(str)) <= {day.date for day in record.days}
    assert shown["n_lists"].sum() == sum(day.n_visits for day in record.days)
    log = settings.tables.read("interactions")["timestamp"].to_pylist()
    assert max(log).date() == date(2025, 3, 2 + DAYS)  # what users bought has come back into the tables
