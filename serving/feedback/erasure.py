"""Erases users in the feedback store, and keeps out what arrives of them later but happened before.

All functions work in the transaction of a connection in which no other process writes.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, func, insert, select

from recommenders.clock import now_us
from recommenders.storage.erased_users import id_hash
from recommenders.storage.feedback_tables import answers, erased_events, erased_users, events
from serving.feedback.events import StoredEvent
from serving.feedback.stored_answer import StoredAnswer


def erase(connection: Connection, dataset: str, user_id: str) -> tuple[int, dict[str, int]]:
    """Deletes all rows of a user; returns the time of the erasure and the number of deleted rows of each table."""
    now, user_hash = now_us(), id_hash(user_id)
    user_id = user_id.replace("\0", "\ufffd")  # as answers are stored
    newest = connection.execute(select(func.max(events.c.sequence)).where(events.c.dataset == dataset)).scalar() or 0
    own = (events.c.dataset == dataset) & (events.c.user_id == user_id)
    gone = connection.execute(delete(events).where(own).returning(events.c.sequence, events.c.event_id)).all()
    if gone:
        kept = [{"dataset": dataset, "sequence": row.sequence, "event_hash": id_hash(row.event_id)} for row in gone]
        connection.execute(insert(erased_events), kept)
    answered = (answers.c.dataset == dataset) & (answers.c.user_id == user_id)
    n_answers = connection.execute(delete(answers).where(answered)).rowcount
    # an earlier row of the user is replaced by a new one: readers continue after the last one that they know
    known = (erased_users.c.dataset == dataset) & (erased_users.c.user_hash == user_hash)
    connection.execute(delete(erased_users).where(known))
    row = {"dataset": dataset, "user_hash": user_hash, "erased_at": now, "last_event": newest}
    connection.execute(insert(erased_users), [row])
    return now, {"events": len(gone), "answers": n_answers}


def events_to_store(connection: Connection, dataset: str, batch: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
    """The events without those of erased users from before their erasure, and those that the erasure deleted."""
    erased = _erased_at(connection, dataset, {one.user_id for one in batch})
    if not erased:
        return batch
    hashes = {id_hash(one.event_id) for one in batch if one.user_id in erased}
    chosen = (erased_events.c.dataset == dataset) & erased_events.c.event_hash.in_(hashes)
    gone = set(connection.execute(select(erased_events.c.event_hash).where(chosen)).scalars())
    return [
        one
        for one in batch
        if one.user_id not in erased or (one.timestamp > erased[one.user_id] and id_hash(one.event_id) not in gone)
    ]


def answers_to_store(connection: Connection, dataset: str, batch: Sequence[StoredAnswer]) -> Sequence[StoredAnswer]:
    """The answers without those of erased users that a worker made before it knew of the erasure."""
    erased = _erased_at(connection, dataset, {one.user_id for one in batch})
    if not erased:
        return batch
    return [one for one in batch if one.user_id not in erased or (one.since or 0) >= erased[one.user_id]]


def _erased_at(connection: Connection, dataset: str, user_ids: Iterable[str]) -> dict[str, int]:
    """User id -> time of the erasure, for those of the users who were erased."""
    of_dataset = erased_users.c.dataset == dataset
    if connection.execute(select(erased_users.c.sequence).where(of_dataset).limit(1)).first() is None:
        return {}
    hashes = {id_hash(user_id): user_id for user_id in user_ids}
    chosen = select(erased_users.c.user_hash, erased_users.c.erased_at)
    found = connection.execute(chosen.where(of_dataset, erased_users.c.user_hash.in_(hashes)))
    return {hashes[row.user_hash]: row.erased_at for row in found}
