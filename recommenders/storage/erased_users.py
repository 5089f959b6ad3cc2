"""Erased users: what the feedback store keeps after it deleted their events and answers.

A user is kept as a hash, with the time: otherwise the champion, which was trained with the user's events, would use
them again. Of each deleted event the number and the hash of its id are kept: by them a reader recognises the store that
it read before, and an event that is sent again is not stored again. The hashes can be found by trying ids, so they need
the same protection as the ids.
"""

import hashlib
from typing import NamedTuple


class Erasure(NamedTuple):
    """A user who was erased."""

    user_hash: str
    erased_at: int  # microseconds since 1970, UTC; only what the user did later counts
    last_event: int  # sequence of the newest event in the store then: later ones are of the new user


def id_hash(id_: str) -> str:
    """The hash of the id of a user or an event: SHA-256 as hexadecimal digits."""
    return hashlib.sha256(id_.encode()).hexdigest()
