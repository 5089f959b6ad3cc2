"""The asset `prediction_drift` on a real store: its page, its alert, and the end of the incident."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from monitoring.alerts.listing import open_incidents
from monitoring.predictions.drift import NO_VERSION, PredictionDrift
from orchestration.assets.prediction_drift import alert_of_predictions, prediction_drift
from orchestration.io_manager import form_of
from orchestration.resources import Datasets
from orchestration.settings import Settings
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

DAY = 86_400_000_000
NAME = "custom_b2b"
N_USERS, N_WEEKS, CHANGED, UNCHANGED = 40, 3, 8, 9


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(tmp_path, dataset=NAME)


def fill(settings: Settings, begin: int) -> None:
    """Three lists of each user in each week, by two versions; those of one of them halve their scores at last."""
    store = FeedbackStore(settings.feedback_store, NAME)
    for version in (CHANGED, UNCHANGED):
        answers = []
        for week in range(N_WEEKS):
            for n in range(3 * N_USERS):
                score = 0.4 / (1 + n % 3) / (2 if week == N_WEEKS - 1 and version == CHANGED else 1)
                items = [{"item_id": str(1 + (n + rank) % 60), "rank": rank, "score": score} for rank in (1, 2, 3)]
                made_by = ("for_you", "known_user", "hybrid", version, "{}", [], items)
                at = begin + (7 * week + n % 7) * DAY
                answers.append(StoredAnswer(f"{version}-{week}-{n}", at, str(n % N_USERS), *made_by))
        store.append_answers(answers)
    store.close()


def materialise(settings: Settings, champion: SimpleNamespace | None) -> tuple[PredictionDrift, dict[str, Any]]:
    """The value of the asset and its metadata."""
    context = dg.build_asset_context(partition_key=NAME)
    registry = SimpleNamespace(champion=lambda _dataset: champion)
    found = prediction_drift(context, settings=settings, datasets=Datasets(settings), registry=registry)
    assert isinstance(found, PredictionDrift)
    return found, dict(context.get_output_metadata("result") or {})


def test_a_change_of_the_lists_is_a_warning_until_a_window_without_one(settings: Settings, tmp_path: Path) -> None:
    begin = time.time_ns() // 1000 // DAY * DAY - 7 * N_WEEKS * DAY
    fill(settings, begin)
    released = datetime.fromtimestamp(begin / 1e6, UTC)
    found, shown = materialise(settings, SimpleNamespace(number=CHANGED, promoted_at=released))
    assert (found.version, found.drifted, found.columns[0].name) == (CHANGED, True, "score")
    assert found.columns[0].score == pytest.approx(N_USERS * math.log(2))  # all users alike: an error of one user
    assert shown["summary"] == found.summary
    assert "| drifted |" in shown["figures"].value
    assert shown["days"].value.startswith("![days](data:image/png;base64,")
    alert_of_predictions(settings, found)  # in the next hour
    (incident,) = open_incidents(settings.alerts.outbox)
    assert (incident.key, incident.severity, incident.n_alerts) == (f"prediction drift/{NAME}", "warning", 1)
    form_of(PredictionDrift).save(found, tmp_path / "found.json")
    assert form_of(PredictionDrift).load(tmp_path / "found.json") == found

    alert_of_predictions(settings, PredictionDrift(NAME, UNCHANGED))  # nothing was tested, so nothing is known
    assert open_incidents(settings.alerts.outbox)
    steady, shown = materialise(settings, SimpleNamespace(number=UNCHANGED, promoted_at=released))
    assert not steady.drifted
    assert "| drifted |" not in shown["figures"].value
    assert open_incidents(settings.alerts.outbox) == []


def test_without_a_champion_nothing_is_tested(settings: Settings) -> None:
    assert materialise(settings, None)[0] == PredictionDrift(NAME, None)
    assert PredictionDrift(NAME, None).summary == NO_VERSION
