"""The newest events of users, as a worker reads them from the store."""

import time
from dataclasses import replace

import pytest

from serving.feedback import recent as recent_module
from serving.feedback.events import FeedbackError, StoredEvent
from serving.feedback.recent import RecentEvents
from serving.feedback.store import FeedbackStore

EVENT = StoredEvent("e", "purchase", "u", "i", 0, 0)


def event(event_id: str, item_id: str, user_id: str = "u", kind: str = "purchase") -> StoredEvent:
    return replace(EVENT, event_id=event_id, item_id=item_id, user_id=user_id, event=kind)


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(f"sqlite:///{tmp_path / 'events.db'}", "toy")


def test_events_of_each_user_in_order_and_only_kinds_that_change_a_list(store):
    recent = RecentEvents(store)
    store.append([event("1", "a"), event("2", "b", "v"), event("3", "c", kind="click"), event("4", "d", kind="cart")])
    assert recent.poll() == 3
    assert (recent.items("u"), recent.items("v"), recent.items("w")) == (["a", "d"], ["b"], [])
    store.append([event("5", "a", kind="rating"), event("1", "again")])
    assert recent.poll() == 1
    assert recent.items("u") == ["a", "d", "a"]
    assert recent.poll() == 0


def test_more_than_a_page_is_read_and_only_the_newest_are_kept(store, monkeypatch):
    monkeypatch.setattr(recent_module, "PAGE", 3)
    monkeypatch.setattr(recent_module, "MAX_EVENTS", 4)
    recent = RecentEvents(store)
    store.append([event(str(number), str(number)) for number in range(10)])
    assert recent.poll() == 10
    assert recent.items("u") == ["6", "7", "8", "9"]


def test_a_list_that_was_handed_out_does_not_change(store):
    recent = RecentEvents(store)
    store.append([event("1", "a")])
    recent.poll()
    held = recent.items("u")
    store.append([event("2", "b")])
    recent.poll()
    assert held == ["a"]


def test_the_thread_reads_what_another_process_stored_and_reports_a_lost_store(store, tmp_path, monkeypatch):
    recent = RecentEvents(store)
    recent.start()
    FeedbackStore(f"sqlite:///{tmp_path / 'events.db'}", "toy").append([event("1", "a")])
    until(lambda: recent.items("u") == ["a"])

    def lost(*_):
        raise FeedbackError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(store, "after", lost)
        until(lambda: recent.problem == "the disk is gone")
        assert recent.items("u") == ["a"]
    until(lambda: not recent.problem)
    with monkeypatch.context() as odd:
        odd.setattr(store, "after", lambda *_: 1 / 0)
        until(lambda: "events cannot be read: ZeroDivisionError" in recent.problem)
    until(lambda: not recent.problem)
    recent.stop()


def until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
