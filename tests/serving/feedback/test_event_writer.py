"""The group writer: what is acknowledged is stored, groups share a commit, a failing store fails only its requests."""

import asyncio
import threading
from dataclasses import replace

import pytest

from serving.feedback import event_writer as writer_module
from serving.feedback.event_writer import GroupWriter
from serving.feedback.events import FeedbackError, OverloadedError, StoredEvent

EVENT = StoredEvent("e", "click", "u", "i", 0, 0)


def batch(*ids: str) -> list[StoredEvent]:
    return [replace(EVENT, event_id=event_id) for event_id in ids]


class Store:
    """Keeps ids; waits for `go` before each commit; refuses the id "bad"."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.ids: set[str] = set()
        self.begun, self.go = threading.Event(), threading.Event()

    def append(self, events):
        self.begun.set()
        self.go.wait(10)
        ids = [event.event_id for event in events]
        if "bad" in ids:
            raise FeedbackError("refused")
        if "odd" in ids:
            raise ValueError("from a driver")
        self.groups.append(ids)
        new = set(ids) - self.ids
        self.ids |= new
        return new


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def writer(store):
    writer = GroupWriter(store)
    yield writer
    store.go.set()
    writer.stop()


async def all_of(*writes):
    return await asyncio.gather(*writes, return_exceptions=True)


def test_requests_that_wait_share_one_commit(store, writer):
    async def run():
        first = asyncio.create_task(writer.write(batch("a")))
        await asyncio.to_thread(store.begun.wait, 10)
        others = [asyncio.create_task(writer.write(batch(f"b{n}", "a"))) for n in range(5)]
        await asyncio.sleep(0.05)
        assert not first.done()  # nothing is acknowledged before it is stored
        store.go.set()
        return await all_of(first, *others)

    assert asyncio.run(run()) == [1, 1, 1, 1, 1, 1]
    assert [len(group) for group in store.groups] == [1, 10]


def test_an_id_in_two_requests_of_a_group_counts_for_one(store, writer):
    async def run():
        first = asyncio.create_task(writer.write(batch("x")))
        await asyncio.to_thread(store.begun.wait, 10)
        others = [asyncio.create_task(writer.write(batch("y", "z"))) for _ in range(2)]
        await asyncio.sleep(0.05)
        store.go.set()
        return await all_of(first, *others)

    assert asyncio.run(run()) == [1, 2, 0]


def test_a_batch_that_cannot_be_stored_fails_alone(store, writer):
    async def run():
        first = asyncio.create_task(writer.write(batch("a")))
        await asyncio.to_thread(store.begun.wait, 10)
        batches = (batch("b"), batch("bad"), batch("c"), batch("odd"))
        others = [asyncio.create_task(writer.write(events)) for events in batches]
        await asyncio.sleep(0.05)
        store.go.set()
        return [*await all_of(first, *others), await writer.write(batch("d"))]

    results = asyncio.run(run())
    assert [results[0], results[1], results[3], results[5]] == [1, 1, 1, 1]
    assert [str(results[2]), str(results[4])] == ["refused", "events cannot be stored: ValueError('from a driver')"]
    assert all(isinstance(results[place], FeedbackError) for place in (2, 4))
    assert store.ids == {"a", "b", "c", "d"}


def test_too_many_waiting_events_are_refused_and_later_ones_are_not(store, writer, monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_WAITING", 3)

    async def run():
        first = asyncio.create_task(writer.write(batch("a")))
        await asyncio.to_thread(store.begun.wait, 10)
        second = asyncio.create_task(writer.write(batch("b", "c", "d")))
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError):
            await writer.write(batch("e"))
        store.go.set()
        assert await all_of(first, second) == [1, 3]
        return await writer.write(batch("e"))

    assert asyncio.run(run()) == 1


def test_a_client_that_disconnects_stops_no_writer(store, writer):
    async def run():
        first = asyncio.create_task(writer.write(batch("a")))
        await asyncio.to_thread(store.begun.wait, 10)
        gone = asyncio.create_task(writer.write(batch("b")))
        await asyncio.sleep(0.05)
        gone.cancel()
        store.go.set()
        await first
        return await writer.write(batch("c"))

    assert asyncio.run(run()) == 1
    assert store.ids == {"a", "b", "c"}


def test_stop_stores_what_waits_and_refuses_more(store):
    writer = GroupWriter(store)

    async def run():
        waiting = asyncio.create_task(writer.write(batch("a")))
        await asyncio.to_thread(store.begun.wait, 10)
        store.go.set()
        await asyncio.to_thread(writer.stop)
        with pytest.raises(OverloadedError):
            await writer.write(batch("b"))
        return await waiting

    assert asyncio.run(run()) == 1
