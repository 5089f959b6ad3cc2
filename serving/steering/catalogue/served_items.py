"""The items of one champion with their attributes: values for answers, and masks of the items that meet filters."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from recommenders.events.ids import IdMap
from serving.steering.catalogue.attributes import Kind, Value
from serving.steering.catalogue.conditions import Condition, fault, meet, only, read_conditions
from serving.steering.catalogue.files import Catalogue
from serving.web.validation import MAX_FAULTS, InvalidRequestError, invalid

MAX_MASK_BYTES = 16 * 2**20  # of all masks in the cache: one byte for each item and filter


class ServedItems:
    """A catalogue in the order of a model's items. Made once for each pair of champion and catalogue; only read then.

    Items that the model does not know are left out. Items that the catalogue lacks have no values.
    """

    def __init__(self, catalogue: Catalogue, items: IdMap) -> None:
        self.catalogue, self.ids = catalogue, items
        self.rows = np.full(len(items), -1, dtype=np.int32)  # item column -> row of the catalogue, -1 if it lacks it
        for row, id_ in enumerate(catalogue.items.ids):
            if (column := items.row(id_)) >= 0 and items.ids[column] == id_:  # not of an item that it succeeds
                self.rows[column] = row
        # no reference to self: a cycle that gc.freeze() has seen is never freed
        n_masks = max(1, min(1024, MAX_MASK_BYTES // max(1, len(items))))
        self._mask = lru_cache(n_masks)(partial(_mask, catalogue, self.rows))

    @property
    def version(self) -> str:
        """The SHA-256 of the catalogue."""
        return self.catalogue.version

    @property
    def kinds(self) -> dict[str, Kind]:
        """The attributes of items, which fields and filters may name."""
        return self.catalogue.items.kinds

    def check(self, fields: Sequence[str], filters: Mapping[str, object]) -> tuple[Condition, ...]:
        """The conditions of the filters. Raises InvalidRequestError with all faults of fields and filters."""
        wrong = [(place, name) for place, name in enumerate(fields) if name not in self.kinds][:MAX_FAULTS]
        faults = [fault(f"fields[{place}]", name, only(name, self.kinds)) for place, name in wrong]
        try:
            conditions = read_conditions(filters, self.kinds, "filters")
        except InvalidRequestError as error:
            faults += error.details
        if faults:
            raise invalid(faults)
        return conditions

    def values(self, item_id: str, fields: Sequence[str]) -> dict[str, Value | None]:
        """The values of an item of the model; None where the catalogue has none."""
        row = int(self.rows[self.ids.row(item_id)])
        return {name: self.catalogue.items.columns[name].value(row) for name in fields}

    def mask(self, conditions: tuple[Condition, ...]) -> NDArray[np.bool_]:
        """(n_items,) which items of the model meet all conditions; read-only, because equal conditions share it."""
        return self._mask(conditions)


def _mask(catalogue: Catalogue, rows: NDArray[np.int32], conditions: tuple[Condition, ...]) -> NDArray[np.bool_]:
    mask = meet(conditions, catalogue.items, rows)
    mask.flags.writeable = False
    return mask
