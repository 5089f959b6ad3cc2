"""The evaluation task of every model: users, their histories, their relevant items, and the candidate items."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.criteria import CRITERIA, MODEL_TARGETS, Targets
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.sparse import ones

if TYPE_CHECKING:
    import pyarrow as pa


class EvaluationConfig(BaseModel):
    """Settings of the evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_resamples: int = Field(default=1000, ge=100, description="Number of bootstrap resamples of an interval.")
    seed: int = Field(default=42, description="Seed of the random draws of the evaluation.")
    criteria: Targets = Field(
        default=CRITERIA,
        description="Success criteria of the report: metric and target. If this key is set, none of the defaults is "
        "used.",
    )
    model_targets: dict[str, Targets] = Field(
        default=MODEL_TARGETS,
        description="Targets of single models: model, metric and target. If this key is set, none of the defaults is "
        "used.",
    )


@dataclass(frozen=True, eq=False)
class TaskView:
    """One view of a task: which items are relevant, and whether lists exclude known items."""

    relevant: csr_array  # (n_users, n_items)
    exclude_known: bool


@dataclass(frozen=True, eq=False)
class EvaluationTask:
    """The users to make lists for, and their relevant items. Rows and columns are those of the training log."""

    user_ids: NDArray[np.str_]  # (n_users,)
    user_rows: NDArray[np.int32]  # (n_users,); -1 for a cold-start user
    histories: Histories  # (n_users, n_items), all events before the cut
    relevant: csr_array  # (n_users, n_items) float32
    candidates: NDArray[np.bool_]  # (n_items,)
    repeat: bool
    description: str
    cold_users: int  # users of the window without earlier events; left out
    cold_items: int  # items of the window that could not be recommended at the cut; left out
    split_views: bool = True  # whether there are the views reorder and discovery, if users repeat purchases

    def views(self) -> dict[str, TaskView]:
        """The view "all"; and "reorder" and "discovery", if users consume known items again."""
        views = {"all": TaskView(self.relevant, not self.repeat)}
        if self.repeat and self.split_views:
            known = self.histories.matrix.astype(bool).astype(np.float32)
            reorder = csr_array(self.relevant.multiply(known))
            discovery = csr_array(self.relevant - reorder)
            for part in (reorder, discovery):
                part.eliminate_zeros()
                part.sort_indices()
            views |= {"reorder": TaskView(reorder, False), "discovery": TaskView(discovery, True)}
        return views


def make_task(log: Interactions, test: "pa.Table", protocol: Protocol) -> EvaluationTask:
    """The task of the test events for models that are fitted on `log`: the known users, in the order of the log's rows.

    Raises DataError if no user of the window has events before the cut and a relevant item that is a candidate.
    """
    user_ids, item_ids = relevant_ids(test, protocol)
    rows, columns = log.users.rows(user_ids), log.items.rows(item_ids)
    # an item that cannot be recommended would lower the metrics of every model, but no ceiling
    offered = (columns >= 0) & log.available[columns]
    warm = (rows >= 0) & offered
    user_rows = np.unique(rows[warm])
    if not len(user_rows):
        event, known = " or ".join(protocol.relevant_events), np.unique(rows[rows >= 0])
        raise DataError(
            f"nothing can be evaluated: {len(np.unique(user_ids)):,} users have a {event} in the window, "
            f"{len(known):,} of them have events before it, and 0 of these a {event} of an item that is a candidate; "
            "at least 1 user is needed; use a longer log or change protocol"
        )
    places = np.searchsorted(user_rows, rows[warm])
    return EvaluationTask(
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


def cold_start_task(
    log: Interactions,
    user_ids: NDArray[np.str_],
    histories: Histories,
    relevant: csr_array,
    candidates: NDArray[np.bool_],
    description: str,
    repeat: bool | None = None,
) -> EvaluationTask:
    """The task for cold-start users, (n,): models know their histories only; user_rows are -1.

    relevant: (n, n_items); items that are not candidates are dropped. repeat: whether items of the history may be
    relevant (default: as in the log); without it they are dropped too. A user with no relevant item then is left out
    and counted as cold. Raises DataError if no user is left.
    """
    repeat = log.repeat if repeat is None else repeat
    possible = csr_array(relevant.multiply(candidates.astype(np.float32)))
    if not repeat:
        possible = csr_array(possible - possible.multiply(histories.matrix.astype(bool).astype(np.float32)))
    possible.eliminate_zeros()
    possible.sort_indices()
    kept = np.flatnonzero(np.diff(possible.indptr) > 0)
    if not len(kept):
        raise DataError(
            f"nothing can be evaluated: {description}: none of {len(user_ids)} users has a relevant item that "
            "could be recommended after the history; bring a longer log"
        )
    missed = np.setdiff1d(relevant.indices, np.flatnonzero(candidates))
    return EvaluationTask(
        user_ids[kept],
        np.full(len(kept), -1, dtype=np.int32),
        histories[kept],
        possible[kept],
        candidates,
        repeat,
        description,
        len(user_ids) - len(kept),
        len(missed),
    )


def relevant_ids(test: "pa.Table", protocol: Protocol) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """User and item of each test event that is relevant by the protocol."""
    events = np.isin(test["event"].to_numpy().astype(np.str_), protocol.relevant_events)
    user_ids: NDArray[np.str_] = test["user_id"].to_numpy().astype(np.str_)[events]
    item_ids: NDArray[np.str_] = test["item_id"].to_numpy().astype(np.str_)[events]
    return user_ids, item_ids
