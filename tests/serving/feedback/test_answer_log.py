"""Stored answers: as they were, in either store; none waits for the store, and none is lost while it is away."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from serving.feedback import answer_log as answers_module
from serving.feedback.answer_log import DAY, AnswerLog
from serving.feedback.events import FeedbackError, StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

ITEMS = [{"item_id": 101, "rank": 1, "score": 0.25}, {"item_id": "SKU-9", "rank": 2, "score": -1.5}]
ANSWER = StoredAnswer("r1", 5, "u1", "for_you", "history", "hybrid", 3, '{"user_id": "u1"}', ["a", "b"], ITEMS)


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(f"sqlite:///{tmp_path / 'events.db'}", "toy")


def test_an_answer_comes_back_as_it_was_with_the_events_that_name_it(url):
    store = FeedbackStore(url, "toy")
    odd = replace(ANSWER, request_id="r2", user_id="\0ü", request='{"user_id": "\\u0000ü"}', recent=[], items=[])
    odd = replace(odd, catalogue="c" * 64)
    assert store.append_answers([ANSWER, odd]) == 2
    assert store.answer("r1") == ANSWER
    assert store.answer("r2") == replace(odd, user_id="\ufffdü")
    assert store.answer("r3") is None
    assert FeedbackStore(url, "other").answer("r1") is None
    assert store.append_answers([replace(ANSWER, user_id="another")]) == 0  # an id is stored once
    assert store.answer("r1") == ANSWER
    events = [StoredEvent(f"e{n}", "click", "u1", "101", n, n, f"r{n}") for n in (1, 2)]
    store.append(events)
    assert store.events_of("r1") == events[:1]


def test_old_answers_are_deleted_and_those_of_other_data_sets_stay(url):
    store, other = FeedbackStore(url, "toy"), FeedbackStore(url, "other")
    store.append_answers([replace(ANSWER, request_id=f"r{at}", answered_at=at) for at in (1, 2, 3)])
    other.append_answers([ANSWER])
    store.delete_answers(before=3)
    assert [store.answer(f"r{at}") is not None for at in (1, 2, 3)] == [False, False, True]
    assert other.answer("r1") == ANSWER


def test_answers_wait_while_the_store_is_away_and_too_many_are_dropped(store, monkeypatch):
    counts: Counter[str] = Counter()
    monkeypatch.setattr(answers_module, "MAX_WAITING", 5)
    monkeypatch.setattr(answers_module, "MAX_GROUP", 2)
    log = AnswerLog(30, lambda outcome, n: counts.update({outcome: n}))
    with monkeypatch.context() as away:
        away.setattr(store, "append_answers", lost)
        log.start(store)
        for number in range(7):
            log.add(replace(ANSWER, request_id=f"r{number}", answered_at=time.time_ns() // 1000))
        until(lambda: log.problem == "the disk is gone")
    until(lambda: not log.problem)
    log.stop()
    assert counts == {"stored": 5, "dropped": 2}
    assert [store.answer(f"r{number}") is not None for number in range(7)] == [True] * 5 + [False] * 2


def test_stopping_stores_what_waits_and_old_answers_go(store):
    now = time.time_ns() // 1000
    store.append_answers([replace(ANSWER, request_id="old", answered_at=now - 31 * DAY)])
    log = AnswerLog(30, lambda *_: None)
    log.start(store)
    log.add(replace(ANSWER, answered_at=now))
    log.stop()
    assert store.answer("r1") == replace(ANSWER, answered_at=now)
    assert store.answer("old") is None


def test_one_statement_of_sqlite_stores_any_number_of_answers(store):
    """A connection keeps its statements; one for each number of answers took 130 MB."""
    statements = set()
    event.listen(store._engine, "before_cursor_execute", lambda _1, _2, text, *_: statements.add(text))
    for n in range(1, 9):
        assert store.append_answers([replace(ANSWER, request_id=f"{n}-{place}") for place in range(n)]) == n
    assert len([text for text in statements if text.startswith("INSERT")]) == 1


def test_an_answer_with_the_request_id_of_another_is_counted_as_dropped(store):
    counts: Counter[str] = Counter()
    log = AnswerLog(30, lambda outcome, n: counts.update({outcome: n}))
    now = time.time_ns() // 1000
    for user_id in ("first", "second"):
        log.add(replace(ANSWER, user_id=user_id, answered_at=now))
    log.start(store)
    log.stop()
    assert counts == {"stored": 1, "dropped": 1}
    assert store.answer("r1") == replace(ANSWER, user_id="first", answered_at=now)


def lost(*_: object) -> None:
    raise FeedbackError("the disk is gone")


def until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
