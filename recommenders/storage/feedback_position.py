"""How far the feedback store was read: by files, by tables, or by the training log of a model."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

SEQUENCE, EVENT_ID = "feedback_sequence", "feedback_event_id"  # keys in the provenance of a model


class Position(NamedTuple):
    """The last event that was read. Its id shows whether a store is the one that was read: it has this event there."""

    sequence: int
    event_id: str

    def to_provenance(self) -> dict[str, str]:
        """As values of a model's provenance."""
        return {SEQUENCE: str(self.sequence), EVENT_ID: self.event_id}

    @classmethod
    def from_provenance(cls, provenance: Mapping[str, Any]) -> Self | None:
        """The position that to_provenance() wrote; None if the model was not fitted on feedback."""
        return cls(int(provenance[SEQUENCE]), provenance[EVENT_ID]) if SEQUENCE in provenance else None
