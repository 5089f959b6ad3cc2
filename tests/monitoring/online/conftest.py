"""Served lists and events in a real feedback store, of SQLite and of PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, text

from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 20_000 * DAY  # the day of the toy lists; microseconds since 1970

Answer = Callable[..., StoredAnswer]
Event = Callable[..., StoredEvent]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def either_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    url: str = request.getfixturevalue("postgres").replace("${CUSTOM_PASSWORD}", quote("p@ss/w:rd", safe=""))
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    engine.dispose()
    return url


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'events.db'}"


@pytest.fixture(scope="session")
def answer() -> Answer:
    def make(
        request_id: str,
        user_id: str,
        hours: float,
        items: str,
        *,
        version: int = 1,
        scene: str = "for_you",
        strategy: str = "known_user",
    ) -> StoredAnswer:
        """A list of one-letter items, so many hours after START."""
        listed = [{"item_id": item, "rank": rank, "score": 0.5} for rank, item in enumerate(items, 1)]
        made_by = (scene, strategy, "hybrid", version)
        return StoredAnswer(request_id, round(START + hours * HOUR), user_id, *made_by, "{}", [], listed)

    return make


@pytest.fixture(scope="session")
def event() -> Event:
    def make(event_id: str, kind: str, user_id: str, item_id: str, hours: float, **more: Any) -> StoredEvent:
        time = round(START + hours * HOUR)
        return StoredEvent(event_id, kind, user_id, item_id, time, time, **more)

    return make


@pytest.fixture
def fill(answer: Answer, event: Event) -> Callable[[str], FeedbackStore]:
    """Stores the toy lists and events, whose figures test_daily.py has by hand."""

    def fill_store(url: str) -> FeedbackStore:
        store = FeedbackStore(url, "toy")
        store.append_answers(
            [
                answer("r1", "u1", 8, "ab"),
                answer("r2", "u1", 10, "bc", version=2),
                answer("r3", "u2", 9, "ac", strategy="history"),
                answer("r4", "u3", 9, "ab", scene="basket", strategy="history"),
            ]
        )
        FeedbackStore(url, "other").append_answers([answer("r9", "u1", 11, "abc")])
        store.append(
            [
                event("1", "click", "u1", "b", 10.1),  # names no list: of r2, the newest one with b
                event("2", "click", "u1", "b", 10.2, request_id="r1"),
                event("3", "click", "u1", "b", 10.2, request_id="r1"),  # the same slot
                event("4", "click", "u1", "z", 10.2),  # in no list
                event("5", "click", "u2", "c", 33.1),  # 24.1 hours after the list
                event("6", "purchase", "u1", "b", 36, quantity=2.0, unit_price=5.0),
                event("7", "purchase", "u1", "d", 60, quantity=1.0, unit_price=100.0),  # was in neither list
                event("8", "purchase", "u2", "a", 9.2, request_id="r1", unit_price=10.0),  # r1 is the list of u1
                event("9", "purchase", "u2", "c", 178, unit_price=1.0),  # more than 7 days after the list
            ]
        )
        return store

    return fill_store
