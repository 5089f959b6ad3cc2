"""User slices that are evaluated separately: each has a name and a mask."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.tasks.task import EvaluationTask
from recommenders.features.items import ItemFeatures

if TYPE_CHECKING:
    import pyarrow as pa

Slices = dict[str, NDArray[np.bool_]]  # name -> (n_users,)

NEW_SHARE = 0.25  # share of users that count as new: those with the fewest known items
MAX_SLICES = 8  # slices of one kind; the smaller ones are merged into "other"


def slices_of(
    task: EvaluationTask, features: ItemFeatures | None = None, segments: Mapping[str, NDArray[np.bool_]] | None = None
) -> Slices:
    """Slices of new and established users, of users by their main category in the test window, and given segments.

    segments: name -> (n_users,) masks in the order of the task's users. Raises ValueError if a length differs.
    """
    found = by_history(task)
    if features is not None:
        found |= by_category(task, features)
    for name, mask in (segments or {}).items():
        if len(mask) != len(task.user_ids):
            raise ValueError(
                f"slice {name}: got {len(mask)} values for {len(task.user_ids)} users; give one value per user"
            )
        found[name] = np.asarray(mask, dtype=np.bool_)
    return found


def by_history(task: EvaluationTask) -> Slices:
    """The quarter of users with the fewest known items, with all ties, and the other users."""
    known = np.diff(task.histories.matrix.indptr)
    most = int(np.quantile(known, NEW_SHARE, method="lower")) if len(known) else 0
    return {f"new (at most {most} items known)": known <= most, f"established (over {most} items)": known > most}


def by_category(task: EvaluationTask, features: ItemFeatures) -> Slices:
    """Users by the most frequent category of their relevant items; {} if items have fewer than two categories.

    A user without relevant items of a known category is in no slice. Ties go to the first category by name.
    """
    names, category = np.unique(features.categories, return_inverse=True)
    if (names != "").sum() < 2:
        return {}
    relevant = task.relevant
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    places = rows * len(names) + category[relevant.indices]
    counts = np.bincount(places, minlength=relevant.shape[0] * len(names)).reshape(-1, len(names))
    counts[:, names == ""] = 0
    return _slices("category", np.where(counts.any(axis=1), names[counts.argmax(axis=1)], ""))


def by_segment(task: EvaluationTask, users: "pa.Table") -> Slices:
    """Users by segment, from a table in schema.USERS; a user without a segment is in no slice."""
    segment_of = {
        user_id: segment or ""
        for user_id, segment in zip(users["user_id"].to_pylist(), users["segment"].to_pylist(), strict=True)
    }
    return _slices(
        "segment", np.array([segment_of.get(user_id, "") for user_id in task.user_ids.tolist()], dtype=np.str_)
    )


def _slices(kind: str, labels: NDArray[np.str_]) -> Slices:
    """One slice per label, the largest first; "" is no label."""
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = names[order[:MAX_SLICES]]
    slices = {f"{kind}: {name}": labels == name for name in kept.tolist()}
    rest = (labels != "") & ~np.isin(labels, kept)
    return slices | ({f"{kind}: other": rest} if rest.any() else {})
