"""The newest events of users, as a worker reads them from the store."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from recommenders.storage.feedback_position import Position
from serving.feedback import recent_events as recent_module
from serving.feedback.events import FeedbackError, StoredEvent
from serving.feedback.recent_events import RecentEvents
from serving.feedback.store import FeedbackStore

EVENT = StoredEvent("e", "purchase", "u", "i", 0, 0)
UNTRAINED = SimpleNamespace(feedback_position=None)  # a champion that was fitted on no feedback


def event(event_id: str, item_id: str, user_id: str = "u", kind: str = "purchase") -> StoredEvent:
    return replace(EVENT, event_id=event_id, item_id=item_id, user_id=user_id, event=kind)


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(f"sqlite:///{tmp_path / 'events.db'}", "toy")


def test_events_of_each_user_in_order_and_only_kinds_that_change_a_list(store):
    recent = RecentEvents(store, lambda: UNTRAINED)
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
    recent = RecentEvents(store, lambda: UNTRAINED)
    store.append([event(str(number), str(number)) for number in range(10)])
    assert recent.poll() == 10
    assert recent.items("u") == ["6", "7", "8", "9"]


def test_a_list_that_was_handed_out_does_not_change(store):
    recent = RecentEvents(store, lambda: UNTRAINED)
    store.append([event("1", "a")])
    recent.poll()
    held = recent.items("u")
    store.append([event("2", "b")])
    recent.poll()
    assert held == ["a"]


class Champions:
    """The champion as the service has it: it can be replaced at any time, or be missing."""

    def __init__(self) -> None:
        self.now: SimpleNamespace | None = None

    def serve(self, position: Position | None) -> Position | None:
        self.now = SimpleNamespace(feedback_position=position)
        return position

    def __call__(self) -> SimpleNamespace | None:
        return self.now


@pytest.fixture
def champions() -> Champions:
    return Champions()


@pytest.fixture
def recent(store, champions) -> RecentEvents:
    """A user with the events a, b, c, d, whose sequences are 1 to 4."""
    store.append([event(f"e{place}", item_id) for place, item_id in enumerate("abcd", 1)])
    return RecentEvents(store, champions)


def test_only_events_after_the_training_log_of_the_champion_are_read(recent, champions):
    assert recent.poll() == 0  # there is no champion, so nothing is read yet
    champions.serve(Position(3, "e3"))
    assert recent.poll() == 1
    assert recent.items("u", Position(3, "e3")) == ["d"]
    assert sum(map(len, recent._known.events.values())) == 1


def test_a_hot_swap_drops_events_at_once_and_a_rollback_brings_them_back(recent, champions, store):
    old = champions.serve(None)
    recent.poll()
    new = Position(3, "e3")
    assert recent.items("u", old) == ["a", "b", "c", "d"]
    assert recent.items("u", new) == ["d"]  # the new champion makes a list before the thread knows of it
    champions.serve(new)
    recent.poll()
    assert recent.items("u", new) == ["d"]
    assert sum(map(len, recent._known.events.values())) == 1  # the others take no memory
    store.append([event("e5", "e")])
    champions.serve(old)
    assert recent.items("u", old) == ["d"]  # until the earlier events are read again
    recent.poll()
    assert recent.items("u", old) == ["a", "b", "c", "d", "e"]
    earlier = champions.serve(Position(1, "e1"))
    recent.poll()
    assert recent.items("u", earlier) == ["b", "c", "d", "e"]
    newest = champions.serve(Position(5, "e5"))
    recent.poll()
    assert (recent.items("u", newest), dict(recent._known.events)) == ([], {})


def test_no_event_is_lost_if_the_store_fails_during_a_rollback(recent, champions, store, monkeypatch):
    champions.serve(Position(3, "e3"))
    recent.poll()
    champions.serve(None)
    monkeypatch.setattr(recent_module, "PAGE", 2)
    read, calls = store.after, []

    def fails_once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise FeedbackError("the disk is gone")
        return read(*arguments)

    monkeypatch.setattr(store, "after", fails_once)
    with pytest.raises(FeedbackError):
        recent.poll()
    assert recent.items("u") == ["d"]
    recent.poll()
    assert recent.items("u") == ["a", "b", "c", "d"]


def test_positions_of_another_store_pass_over_nothing(recent, champions):
    """A Bento may have a store of its own: what was trained on is not in it."""
    for position in (Position(3, "of another store"), Position(300, "e3")):
        champions.serve(position)
        recent.poll()
        assert recent.items("u", position) == ["a", "b", "c", "d"]


def test_the_thread_reads_what_another_process_stored_and_reports_a_lost_store(store, tmp_path, monkeypatch):
    recent = RecentEvents(store, lambda: UNTRAINED)
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
