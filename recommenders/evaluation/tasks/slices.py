"""Parts of the buyers that are judged apart: a name and a mask each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.tasks.task import Case
from recommenders.features.items import ItemFeatures

if TYPE_CHECKING:
    import pyarrow as pa

Slices = dict[str, NDArray[np.bool_]]  # name -> (n_users,)

NEW_SHARE = 0.25  # of the buyers, by how many items they are known to have, count as new
MOST_PARTS = 8  # of one kind that are told apart; smaller ones stand together as "other"


def slices_of(
    case: Case, features: ItemFeatures | None = None, segments: Mapping[str, NDArray[np.bool_]] | None = None
) -> Slices:
    """New and established buyers, buyers by the category they buy most from in the test window, and given segments.

    segments: name -> (n_users,) in the order of the case's buyers. Raises ValueError if one is of another length.
    """
    found = by_history(case)
    if features is not None:
        found |= by_category(case, features)
    for name, members in (segments or {}).items():
        if len(members) != len(case.user_ids):
            raise ValueError(f"slice {name}: got {len(members)} values for {len(case.user_ids)} buyers; give one each")
        found[name] = np.asarray(members, dtype=np.bool_)
    return found


def by_history(case: Case) -> Slices:
    """The quarter of the buyers of whom the fewest items are known, with all that tie with it, and the others."""
    known = np.diff(case.histories.matrix.indptr)
    most = int(np.quantile(known, NEW_SHARE, method="lower")) if len(known) else 0
    return {f"new (at most {most} items known)": known <= most, f"established (over {most} items)": known > most}


def by_category(case: Case, features: ItemFeatures) -> Slices:
    """Each buyer under the category of most of the relevant items; none where items have one category or no known one.

    A buyer with nothing relevant, or nothing of a known category, is in no part. Ties go to the first by name.
    """
    names, category = np.unique(features.categories, return_inverse=True)
    if (names != "").sum() < 2:
        return {}
    relevant = case.relevant
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    places = rows * len(names) + category[relevant.indices]
    counts = np.bincount(places, minlength=relevant.shape[0] * len(names)).reshape(-1, len(names))
    counts[:, names == ""] = 0
    return _parts("category", np.where(counts.any(axis=1), names[counts.argmax(axis=1)], ""))


def by_segment(case: Case, users: "pa.Table") -> Slices:
    """Buyers by the segment that a table in schema.USERS names; one without a segment is in no part."""
    named = {
        user_id: segment or ""
        for user_id, segment in zip(users["user_id"].to_pylist(), users["segment"].to_pylist(), strict=True)
    }
    return _parts("segment", np.array([named.get(user_id, "") for user_id in case.user_ids.tolist()], dtype=np.str_))


def _parts(kind: str, labels: NDArray[np.str_]) -> Slices:
    """One part a label, the largest first; "" is no label."""
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = names[order[:MOST_PARTS]]
    parts = {f"{kind}: {name}": labels == name for name in kept.tolist()}
    rest = (labels != "") & ~np.isin(labels, kept)
    return parts | ({f"{kind}: other": rest} if rest.any() else {})
