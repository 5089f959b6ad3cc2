"""A user is erased in the feedback store: nothing of before stays or comes back, and a new event makes a new user."""

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from recommenders.storage.erased_users import id_hash
from recommenders.storage.feedback_position import Position
from serving.feedback.events import StoredEvent
from serving.feedback.recent_events import RecentEvents
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

KINDS = ("purchase",)
EVENT = StoredEvent("e1", "purchase", "u", "i", 1_000, 2_000)
ANSWER = StoredAnswer("r1", 1_000, "u", "for_you", "known_user", "ease", 1, '{"user_id": "u"}', ["i"], [])


def later() -> int:
    return time.time_ns() // 1000 + 60_000_000


@pytest.fixture
def store(url: str) -> FeedbackStore:
    store = FeedbackStore(url, "toy")
    store.append([EVENT, replace(EVENT, event_id="e2", user_id="v"), replace(EVENT, event_id="e3", item_id="j")])
    store.append_answers([ANSWER, replace(ANSWER, request_id="r2", user_id="v")])
    return store


def users(store: FeedbackStore) -> list[str]:
    return [event.user_id for _, event in store.after(0, KINDS, 10)]


def test_all_rows_of_one_user_and_data_set_are_deleted_and_twice_is_the_same(store: FeedbackStore, url: str) -> None:
    other = FeedbackStore(url, "other")
    other.append([EVENT])
    before = time.time_ns() // 1000
    erased_at, deleted = store.erase("u")
    assert before <= erased_at <= time.time_ns() // 1000
    assert isinstance(erased_at, int)
    assert deleted == {"events": 2, "answers": 1}
    assert (users(store), users(other)) == (["v"], ["u"])
    assert (store.answer("r1"), store.answer("r2").user_id) == (None, "v")
    again, deleted = store.erase("u")
    assert (again >= erased_at, deleted) == (True, {"events": 0, "answers": 0})
    assert store.erase("unknown")[1] == {"events": 0, "answers": 0}
    assert [each.erased_at >= again for _, each in store.erasures(0)] == [True, True]
    assert other.erasures(0) == []


def test_no_id_of_the_user_stays_in_the_store(store: FeedbackStore, url: str) -> None:
    store.append([replace(EVENT, event_id="order-77001", user_id="user-77001", item_id="x", order_id="order-77001")])
    store.append_answers([replace(ANSWER, request_id="request-77001", user_id="user-77001", request="77001")])
    store.erase("user-77001")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect() as connection:
        for table in ("events", "answers", "erased_users", "erased_events"):
            assert "77001" not in str(connection.execute(text(f"select * from {table}")).all()).replace("'", "")
    engine.dispose()


def test_no_byte_of_the_user_stays_in_the_file_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = FeedbackStore(f"sqlite:///{path}", "toy")
    store.close()
    # as in a build of SQLite that does not overwrite unless it is asked; the one of the tests may do so
    off = "PRAGMA secure_delete = OFF"
    event.listen(store._engine, "connect", lambda connection, _: connection.execute(off), insert=True)
    store.append([replace(EVENT, event_id=f"e{n}", user_id="user-77001") for n in range(500)])
    store.erase("user-77001")
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    assert b"user-77001" not in path.read_bytes()


def test_what_arrives_later_but_happened_before_is_not_stored(store: FeedbackStore) -> None:
    erased_at, _ = store.erase("u")
    assert store.append([EVENT]) == set()  # the sender tries again
    assert store.append([replace(EVENT, timestamp=later())]) == set()  # the same, and the sender names no time
    assert store.append([replace(EVENT, event_id="e4", timestamp=erased_at)]) == set()
    assert store.append([replace(EVENT, event_id="e2", user_id="w"), replace(EVENT, event_id="e5", user_id="v")]) == {
        "e5"
    }
    assert store.append([replace(EVENT, event_id="e6", timestamp=erased_at + 1)]) == {"e6"}
    assert store.append([]) == set()
    made = replace(ANSWER, request_id="r3", answered_at=later())
    assert store.append_answers([made]) == 0  # of a worker that does not know yet
    assert store.append_answers([replace(made, since=erased_at - 1)]) == 0
    assert store.append_answers([replace(made, since=erased_at), replace(made, request_id="r4", user_id="v")]) == 2
    assert store.answer("r3").since == erased_at
    assert store.erase("u")[1] == {"events": 1, "answers": 1}


def test_what_another_data_set_erased_is_stored(store: FeedbackStore, url: str) -> None:
    other, late = FeedbackStore(url, "other"), replace(EVENT, event_id="e4", timestamp=later())
    other.append([late])
    other.erase("u")
    store.erase("u")
    assert store.append([late]) == {"e4"}
    assert other.append([late]) == set()


def test_the_first_event_of_a_store_counts_though_its_user_was_erased_before(url: str) -> None:
    store = FeedbackStore(url, "empty")
    erased_at, _ = store.erase("u")
    store.append([replace(EVENT, timestamp=erased_at + 1)])
    recent = RecentEvents(store, lambda: SimpleNamespace(feedback_position=None))
    recent.poll()
    assert recent.items("u") == ["i"]


def test_a_position_at_a_deleted_event_is_still_known(store: FeedbackStore) -> None:
    ((_, _), (_, _), (sequence, _)) = store.after(0, KINDS, 10)
    store.erase("u")
    assert store.has(Position(sequence, "e3"))
    assert not store.has(Position(sequence, "of another store"))
    assert not store.has(Position(sequence + 1, "e3"))


def test_every_worker_forgets_the_events_and_a_rollback_does_not_bring_them_back(store: FeedbackStore) -> None:
    champion = SimpleNamespace(feedback_position=None)
    workers = [RecentEvents(store, lambda: champion) for _ in range(2)]
    for recent in workers:
        recent.poll()
        assert (recent.items("u"), recent.erased_at("u")) == (["i", "j"], None)
    erased_at, _ = store.erase("u")
    store.append([replace(EVENT, event_id="e4", item_id="k", timestamp=later())])
    for recent in workers:
        recent.poll()
        assert (recent.items("u"), recent.items("v")) == (["k"], ["i"])
        assert (recent.erased_at("u"), recent.erased_at("v")) == (erased_at, None)
    champion.feedback_position = Position(store.after(0, KINDS, 10)[-1][0], "e4")
    workers[0].poll()
    assert workers[0].items("u", champion.feedback_position) == []
    champion.feedback_position = None
    workers[0].poll()
    assert workers[0].items("u") == ["k"]
    assert RecentEvents(store, lambda: None).poll() == 0


def test_a_worker_reports_each_erasure_since_it_started_once(store: FeedbackStore) -> None:
    store.erase("v")
    found: list[str] = []
    recent = RecentEvents(store, lambda: None, found.append)
    recent.poll()
    assert found == []  # it has no lists of before
    store.erase("u")
    recent.poll()
    recent.poll()
    assert found == [id_hash("u")]


def test_an_erasure_between_two_reads_of_a_worker_leaves_nothing(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker reads the events, then the user is erased, then it reads who was erased."""
    recent, read = RecentEvents(store, lambda: SimpleNamespace(feedback_position=None)), store.erasures

    def erased_now(*arguments: Any) -> Any:
        store.erase("u")
        return read(*arguments)

    monkeypatch.setattr(store, "erasures", erased_now)
    assert recent.poll() == 3
    assert (recent.items("u"), recent.items("v")) == ([], ["i"])


def test_a_worker_knows_who_was_erased_before_it_has_a_champion(store: FeedbackStore) -> None:
    erased_at, _ = store.erase("u")
    recent = RecentEvents(store, lambda: None)
    recent.poll()
    assert recent.erased_at("u") == erased_at
