"""What is asked of every model: which buyers, what is known of them, what they wanted, what may be recommended."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.criteria import CRITERIA, MODEL_TARGETS, Targets
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions

if TYPE_CHECKING:
    import pyarrow as pa


class EvaluationConfig(BaseModel):
    """How lists are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_bootstrap: int = Field(default=1000, ge=100)  # resamples behind an interval
    seed: int = 42
    criteria: Targets = CRITERIA  # what the model that is released should reach
    model_targets: dict[str, Targets] = MODEL_TARGETS  # what single models should reach


@dataclass(frozen=True, eq=False)
class View:
    """One way to look at the same lists: what counts as relevant, and whether known items may stand in them."""

    relevant: csr_array  # (n_users, n_items)
    exclude_known: bool


@dataclass(frozen=True, eq=False)
class Case:
    """The buyers that are asked about. Rows and columns are those of the training log."""

    user_ids: NDArray[np.str_]  # (n_users,)
    user_rows: NDArray[np.int32]  # (n_users,); -1 for one of whom nothing was learned
    histories: Histories  # (n_users, n_items), all that is known before the cut
    relevant: csr_array  # (n_users, n_items) float32, ones
    candidates: NDArray[np.bool_]  # (n_items,)
    repeat: bool
    description: str
    cold_users: int  # buyers of the window who were never seen before; left out
    cold_items: int  # items of the window that could not be recommended at the cut; left out
    apart: bool = True  # whether reorder and discovery are views of their own, where buyers come back

    def views(self) -> dict[str, View]:
        """All items; and, where buyers come back to items they know, reorder and discovery apart."""
        views = {"all": View(self.relevant, not self.repeat)}
        if self.repeat and self.apart:
            known = self.histories.matrix.astype(bool).astype(np.float32)
            reorder = csr_array(self.relevant.multiply(known))
            discovery = csr_array(self.relevant - reorder)
            for part in (reorder, discovery):
                part.eliminate_zeros()
                part.sort_indices()
            views |= {"reorder": View(reorder, False), "discovery": View(discovery, True)}
        return views


def make_case(log: Interactions, test: "pa.Table", protocol: Protocol) -> Case:
    """The question that the test events pose to models fitted on `log`: warm buyers, in the order of the log's rows.

    Raises DataError if no buyer of the window was seen before the cut.
    """
    user_ids, item_ids = relevant_ids(test, protocol)
    rows, columns = log.users.rows(user_ids), log.items.rows(item_ids)
    # an item that cannot be recommended would lower every model's figures and no ceiling
    offered = (columns >= 0) & log.available[columns]
    warm = (rows >= 0) & offered
    user_rows = np.unique(rows[warm])
    if not len(user_rows):
        raise DataError(
            "nothing can be evaluated: no buyer of the test window was seen before the cut; bring a longer log"
        )
    places = np.searchsorted(user_rows, rows[warm])
    return Case(
        log.users.ids[user_rows],
        user_rows.astype(np.int32),
        log.histories()[user_rows],
        ones(places, columns[warm], (len(user_rows), len(log.items))),
        log.available,
        protocol.repeat,
        protocol.describe(),
        len(np.unique(user_ids[rows < 0])),
        len(np.unique(item_ids[~offered])),
    )


def case_of_strangers(
    log: Interactions,
    user_ids: NDArray[np.str_],
    histories: Histories,
    wanted: csr_array,
    candidates: NDArray[np.bool_],
    description: str,
    repeat: bool | None = None,
) -> Case:
    """The question about buyers of whom nothing was learned, (n,), by their histories alone; user_rows are -1.

    wanted: (n, n_items). repeat: whether items of the history may be asked for, by default as in the log. What is no
    candidate is not asked for, and without `repeat` neither is what the history holds; a buyer who wants nothing then
    is left out and counted as cold. Raises DataError if nobody is left.
    """
    repeat = log.repeat if repeat is None else repeat
    relevant = csr_array(wanted.multiply(candidates.astype(np.float32)))
    if not repeat:
        relevant = csr_array(relevant - relevant.multiply(histories.matrix.astype(bool).astype(np.float32)))
    relevant.eliminate_zeros()
    relevant.sort_indices()
    asked = np.flatnonzero(np.diff(relevant.indptr) > 0)
    if not len(asked):
        raise DataError(
            f"nothing can be evaluated: {description}: none of {len(user_ids)} wants an item that could be recommended "
            "after the history; bring a longer log"
        )
    missed = np.setdiff1d(wanted.indices, np.flatnonzero(candidates))
    return Case(
        user_ids[asked],
        np.full(len(asked), -1, dtype=np.int32),
        histories[asked],
        relevant[asked],
        candidates,
        repeat,
        description,
        len(user_ids) - len(asked),
        len(missed),
    )


def relevant_ids(test: "pa.Table", protocol: Protocol) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Buyer and item of each test event that the protocol calls relevant."""
    events = np.isin(test["event"].to_numpy().astype(np.str_), protocol.relevant_events)
    user_ids: NDArray[np.str_] = test["user_id"].to_numpy().astype(np.str_)[events]
    item_ids: NDArray[np.str_] = test["item_id"].to_numpy().astype(np.str_)[events]
    return user_ids, item_ids


def ones(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> csr_array:
    """CSR float32 with a one wherever a pair is given, however often; columns ascend in each row."""
    matrix = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
