"""The feedback of a worker, while its store cannot be opened and after it can."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, text

from serving.feedback import worker_feedback
from serving.feedback.events import FeedbackError, StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer
from serving.feedback.worker_feedback import WorkerFeedback

EVENT = StoredEvent("e", "purchase", "u", "i", 0, 0)


def test_tables_of_a_later_version_are_reported_and_the_store_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_feedback, "RETRY_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path / 'events.db'}"
    FeedbackStore(url, "toy").close()
    newest = set_revision(url, "9999")
    feedback = WorkerFeedback(url, "toy", lambda: SimpleNamespace(feedback_position=None), 0, lambda *_: None)
    feedback.start()
    until(lambda: "cannot be opened" in feedback.problem and "9999" in feedback.problem)
    with pytest.raises(FeedbackError, match="9999"):
        asyncio.run(feedback.write([EVENT]))
    assert feedback.recent_items("u") == []
    set_revision(url, newest)
    until(lambda: not feedback.problem)
    assert asyncio.run(feedback.write([EVENT])) == 1
    until(lambda: feedback.recent_items("u") == ["i"])
    feedback.stop()


def test_answers_wait_until_the_store_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first champion answers before the store is open; answers of that time were lost."""
    monkeypatch.setattr(worker_feedback, "RETRY_SECONDS", 0.05)
    url, counts = f"sqlite:///{tmp_path / 'events.db'}", Counter[str]()
    FeedbackStore(url, "toy").close()
    revision = set_revision(url, "9999")
    feedback = WorkerFeedback(url, "toy", lambda: None, 30, lambda outcome, n: counts.update({outcome: n}))
    now = time.time_ns() // 1000
    first, second = (StoredAnswer(id_, now, "u", "for_you", "history", "ease", 1, "{}", [], []) for id_ in ("1", "2"))
    feedback.store_answer(first)
    feedback.start()
    until(lambda: "9999" in feedback.problem)
    feedback.store_answer(second)
    set_revision(url, revision)
    until(lambda: counts["stored"] == 2)
    feedback.stop()
    store = FeedbackStore(url, "toy")
    assert [store.answer("1"), store.answer("2")] == [first, second]
    assert counts == {"stored": 2}


def set_revision(url: str, revision: str) -> str:
    """Sets the version of the tables; returns the one before."""
    engine = create_engine(url)
    with engine.begin() as connection:
        before: str = connection.execute(text("select version_num from alembic_version")).scalar_one()
        connection.execute(text("update alembic_version set version_num = :revision"), {"revision": revision})
    engine.dispose()
    return before


def until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
