"""What is asked of every model: which buyers, what is known of them, what they wanted, what may be recommended."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


K = 10  # places of a list


class EvaluationConfig(BaseModel):
    """How lists are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_bootstrap: int = Field(default=1000, ge=100)  # resamples behind an interval
    seed: int = 42


@dataclass(frozen=True, eq=False)
class View:
    """One way to look at the same lists: what counts as relevant, and whether known items may stand in them."""

    relevant: csr_array  # (n_users, n_items)
    exclude_known: bool


@dataclass(frozen=True, eq=False)
class Case:
    """Warm buyers of the test window in the order of the log's rows. Rows and columns are those of the training log."""

    user_ids: NDArray[np.str_]  # (n_users,)
    user_rows: NDArray[np.int32]  # (n_users,)
    histories: Histories  # (n_users, n_items), all that is known before the cut
    relevant: csr_array  # (n_users, n_items) float32, ones
    candidates: NDArray[np.bool_]  # (n_items,)
    repeat: bool
    description: str
    cold_users: int  # buyers of the window who were never seen before; left out
    cold_items: int  # items of the window that could not be recommended at the cut; left out

    def views(self) -> dict[str, View]:
        """All items; and, where buyers come back to items they know, reorder and discovery apart."""
        views = {"all": View(self.relevant, not self.repeat)}
        if self.repeat:
            known = self.histories.matrix.astype(bool).astype(np.float32)
            reorder = csr_array(self.relevant.multiply(known))
            discovery = csr_array(self.relevant - reorder)
            for part in (reorder, discovery):
                part.eliminate_zeros()
                part.sort_indices()
            views |= {"reorder": View(reorder, False), "discovery": View(discovery, True)}
        return views


def make_case(log: Interactions, test: "pa.Table", protocol: Protocol) -> Case:
    """The question that the test events pose to models fitted on `log`.

    Raises DataError if no buyer of the window was seen before the cut.
    """
    events = np.isin(test["event"].to_numpy().astype(np.str_), protocol.relevant_events)
    user_ids = test["user_id"].to_numpy().astype(np.str_)[events]
    item_ids = test["item_id"].to_numpy().astype(np.str_)[events]
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
    relevant = csr_array(
        (np.ones(len(places), np.float32), (places, columns[warm])), shape=(len(user_rows), len(log.items))
    )
    relevant.sum_duplicates()
    relevant.data[:] = 1.0
    return Case(
        log.users.ids[user_rows],
        user_rows.astype(np.int32),
        log.histories()[user_rows],
        relevant,
        log.available,
        protocol.repeat,
        protocol.describe(),
        len(np.unique(user_ids[rows < 0])),
        len(np.unique(item_ids[~offered])),
    )
