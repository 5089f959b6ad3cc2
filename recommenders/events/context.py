"""What a fitted model knows of its training log besides its parameters: ids, histories and items on sale."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import SalePeriods, pack_periods, unpack_periods
from recommenders.storage import contexts

EVENTS = ("indptr", "item_columns", "timestamps", "weights")
_in_memory: "WeakValueDictionary[str, FittedContext]" = WeakValueDictionary()  # SHA-256 -> context that a model has


@dataclass(frozen=True, eq=False)
class FittedContext:
    """The context of a fitted model. All models that are fitted on one log have the same context."""

    users: IdMap
    items: IdMap
    histories: Histories  # (n_users, n_items): all events of the training log
    available: NDArray[np.bool_]  # (n_items,): items that may be recommended at the end of the log
    sale_periods: SalePeriods | None  # when each item is on sale; None if no date is known
    repeat: bool  # whether users buy items again (Interactions.repeat)
    dated: bool  # whether the time stamps are meaningful (Interactions.dated)
    as_of: int  # microseconds since 1970, UTC: the newest event, which is "now" for scoring

    @classmethod
    def from_log(cls, log: Interactions) -> "FittedContext":
        """The context of a model that is fitted on the log."""
        return cls(
            log.users,
            log.items,
            log.histories(),
            log.available,
            log.sale_periods,
            log.repeat,
            log.dated,
            int(log.timestamps.max(initial=0)),
        )

    @classmethod
    def load(cls, bundle: Path, digest: str) -> "FittedContext":
        """The context that a bundle refers to by its SHA-256; bundles with one context share one object in memory.

        Raises BundleError if the file is missing or differs from its hash, KeyError if it lacks an array.
        """
        path = contexts.find(bundle, digest)
        context = _in_memory.get(digest)
        if context is None:
            context = _in_memory.setdefault(digest, cls.from_arrays(contexts.read(path)))
        return context

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The context as named arrays."""
        arrays: dict[str, NDArray[Any]] = {
            "available": self.available,
            "repeat": np.array([self.repeat]),
            "dated": np.array([self.dated]),
            "as_of": np.array([self.as_of]),
            **pack_periods(self.sale_periods),
            **{f"histories.{part}": getattr(self.histories, part) for part in EVENTS},
        }
        for axis, ids in (("users", self.users), ("items", self.items)):
            arrays |= {f"{axis}.{part}": array for part, array in ids.arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "FittedContext":
        """The inverse of arrays(). Other names are ignored, so later versions can store more arrays."""
        users, items = (IdMap.from_arrays(arrays, f"{axis}.") for axis in ("users", "items"))
        return cls(
            users,
            items,
            Histories(**{part: arrays[f"histories.{part}"] for part in EVENTS}, n_items=len(items)),
            arrays["available"],
            unpack_periods(arrays),
            bool(arrays["repeat"][0]),
            bool(arrays["dated"][0]),
            int(arrays["as_of"][0]),
        )


class HasContext:
    """A fitted model: its context, and the parts of it under the names of fitted attributes."""

    context_: FittedContext

    @property
    def users_(self) -> IdMap:
        return self.context_.users

    @property
    def items_(self) -> IdMap:
        return self.context_.items

    @property
    def histories_(self) -> Histories:
        return self.context_.histories

    @property
    def available_(self) -> NDArray[np.bool_]:
        return self.context_.available

    @property
    def sale_periods_(self) -> SalePeriods | None:
        return self.context_.sale_periods

    @property
    def repeat_(self) -> bool:
        return self.context_.repeat

    @property
    def dated_(self) -> bool:
        return self.context_.dated

    @property
    def as_of_(self) -> int:
        return self.context_.as_of
