"""The feedback store: each event id once, in order, on disk; two schemas that must agree."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from recommenders.errors import ConfigurationError
from recommenders.storage.feedback_tables import EVENTS, answers, events, metadata
from serving.feedback.events import FeedbackError, StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

EVENT = StoredEvent("e1", "purchase", "u1", "i1", 1_000, 2_000, "r1", "o1", 2.0, 9.5, None)


def many(ids: range, user_id: str = "u1") -> list[StoredEvent]:
    return [replace(EVENT, event_id=f"e{number}", user_id=user_id) for number in ids]


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(f"sqlite:///{tmp_path / 'sub' / 'events.db'}", "toy")


def test_an_event_id_is_stored_once(store):
    assert store.append(many(range(3))) == {"e0", "e1", "e2"}
    assert store.append([*many(range(2, 5)), *many(range(3, 4))]) == {"e3", "e4"}
    assert store.append([replace(EVENT, event_id="e0", item_id="other")]) == set()
    assert store.append([]) == set()
    assert [row.item_id for _, row in store.after(0, EVENTS, 10)] == ["i1"] * 5


def test_events_come_back_as_they_were_stored_in_order_of_arrival(store):
    bare = StoredEvent("e2", "click", "ü", "007", 5, 6)
    store.append([EVENT])
    store.append([bare])
    found = store.after(0, EVENTS, 10)
    assert [row for _, row in found] == [EVENT, bare]
    assert found[0][0] < found[1][0]
    assert [row for _, row in store.after(found[0][0], EVENTS, 10)] == [bare]
    assert [row for _, row in store.after(0, ["click"], 10)] == [bare]
    assert len(store.after(0, EVENTS, 1)) == 1


def test_the_events_are_there_after_a_restart(store, tmp_path):
    store.append(many(range(5)))
    store.close()
    again = FeedbackStore(f"sqlite:///{tmp_path / 'sub' / 'events.db'}", "toy")
    assert again.counts() == {"purchase": 5}
    assert again.append(many(range(5))) == set()


def test_each_data_set_has_its_own_events(store, tmp_path):
    other = FeedbackStore(f"sqlite:///{tmp_path / 'sub' / 'events.db'}", "other")
    store.append([EVENT])
    assert other.append([EVENT]) == {"e1"}
    assert other.append([replace(EVENT, event_id="e2")]) == {"e2"}
    assert [row.event_id for _, row in store.after(0, EVENTS, 10)] == ["e1"]
    assert (store.counts(), other.counts()) == ({"purchase": 1}, {"purchase": 2})


def test_a_group_with_an_event_that_cannot_be_stored_leaves_nothing(store):
    with pytest.raises(FeedbackError, match=r"events cannot be stored: .*NOT NULL"):
        store.append([EVENT, replace(EVENT, event_id="e9", item_id=None)])
    assert store.counts() == {}


def test_either_store_holds_each_event_once_in_order(url):
    store = FeedbackStore(url, "toy")
    assert store.append([EVENT, replace(EVENT, event_id="e2"), EVENT]) == {"e1", "e2"}
    assert FeedbackStore(url, "toy").append([replace(EVENT, event_id="e3"), EVENT]) == {"e3"}
    found = store.after(0, EVENTS, 10)
    assert [row for _, row in found] == [replace(EVENT, event_id=event_id) for event_id in ("e1", "e2", "e3")]
    assert [sequence for sequence, _ in found] == sorted(sequence for sequence, _ in found)
    with pytest.raises(FeedbackError, match="events cannot be stored"):
        store.append([replace(EVENT, event_id="e4", item_id=None)])
    assert store.counts() == {"purchase": 3}


def test_writers_take_turns_and_lose_nothing(url):
    """Four writers with stores of their own send overlapping events, in another order each."""
    new: list[set[str]] = []

    def write(seed: int) -> None:
        store = FeedbackStore(url, "toy")
        starts = sorted(range(0, 400, 20), key=lambda n: (n * (seed * 2 + 7)) % 401)
        new.extend(store.append(many(range(start, start + 40), f"u{seed}")) for start in starts)
        store.close()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, new)) == len(set().union(*new)) == 420  # each id was new for one writer
    assert FeedbackStore(url, "toy").counts() == {"purchase": 420}


def test_the_migrations_make_the_tables_that_readers_expect(store, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'sub' / 'events.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert [column.name for column in events.columns][2:] == list(StoredEvent.__slots__)
    assert [column.name for column in answers.columns][1:] == list(StoredAnswer.__slots__)


def test_a_url_that_cannot_be_used_is_an_error_that_names_the_fix(tmp_path):
    with pytest.raises(ConfigurationError, match=r"got mysql.*allowed: sqlite:///FILE or postgresql"):
        FeedbackStore("mysql://user:hush@host/db", "toy")
    (tmp_path / "file").write_text("")
    with pytest.raises(FeedbackError, match="the feedback store cannot be opened"):
        FeedbackStore(f"sqlite:///{tmp_path / 'file' / 'events.db'}", "toy")
    with pytest.raises(FeedbackError, match="the feedback store cannot be opened") as caught:
        FeedbackStore("postgresql://user:hush@127.0.0.1:1/db", "toy")
    assert "hush" not in str(caught.value)
