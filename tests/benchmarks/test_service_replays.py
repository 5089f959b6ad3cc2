"""service_replays.py names the answers that differ, and counts them in each of their groups."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import service_replays
from service_replays import Answered

from serving.feedback.stored_answer import StoredAnswer
from serving.settings import ServingSettings

ITEMS = [{"item_id": 7, "rank": 1, "score": 0.5}]


def stored(request_id: str, scene: str) -> StoredAnswer:
    made_by = (scene, "known_user", "ease", 3)
    return StoredAnswer(request_id, 0, "1", *made_by, "{}", [], ITEMS, "catalogue-1", "rules-123456")


def test_differences_are_named_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {one.request_id: one for one in (stored("same", "reorder"), stored("other", "basket"))}
    answers["changed"] = stored("changed", "basket")
    store = SimpleNamespace(answer=answers.get, close=lambda: None)
    monkeypatch.setattr(service_replays, "FeedbackStore", lambda *_: store)
    for name in ("Predictor", "read", "kept"):
        monkeypatch.setattr(service_replays, name, lambda *_: None)
    monkeypatch.setattr(service_replays, "replay", lambda one, *_: SimpleNamespace(equal=one.request_id == "same"))
    sent = {name: Answered(orjson.dumps(ITEMS), ("with filters",)) for name in ("same", "other", "missing")}
    sent["changed"] = Answered(orjson.dumps([]), ())
    rows: list[dict[str, Any]] = list(service_replays.compared(ServingSettings(home=tmp_path), sent))
    lost, different = rows[:2]
    assert (lost["ours"], lost["request_ids"], lost["floor_met"]) == (2, ["missing", "changed"], False)
    assert (different["ours"], different["request_ids"], different["note"]) == (1, ["other"], "of 2: other")
    groups = {row["what"]: (row["ours"], row["note"]) for row in rows[2:]}
    assert groups["answers different, scene reorder"] == (0, "of 1")
    assert groups["answers different, scene basket"] == (1, "of 1")
    assert groups["answers different, version 3 (ease)"] == groups["answers different, with filters"] == (1, "of 2")
