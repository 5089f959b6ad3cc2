"""The lists of all known users, made once per version: a known user without newer events then needs no model.

    champions/custom_b2b/7/           the bundle of the version
    champions/custom_b2b/7-lists/     its lists: columns.npy, scores.npy, by_popularity.npy, on_sale.npy, lists.json

The arrays are mapped into memory, so all workers of a machine share them. A list is longer than most requests, so that
items which are no longer on sale, or which a request excludes, leave enough others.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders.errors import BundleError
from recommenders.math.ranked import Ranked
from recommenders.storage.atomic_files import atomic_folder, sha256
from serving.lists.served_lists import ServedLists

NOTE = "lists.json"
ARRAYS = ("columns", "scores", "by_popularity", "on_sale")
CHUNK = 512  # users whose lists are made and written together


@dataclass(frozen=True, eq=False)
class PrecomputedLists:
    """Lists of the scene `for_you`, as ServedLists.recommend() makes them for the stored histories."""

    columns: NDArray[np.int32]  # (n_users, depth) item columns, best first, -1 where a list ends
    scores: NDArray[np.float32]  # (n_users, depth)
    by_popularity: NDArray[np.bool_]  # (n_users,) whether the list is of popularity alone
    on_sale: NDArray[np.bool_]  # (n_items,) the items that were on sale when the lists were made

    def __len__(self) -> int:
        return len(self.columns)

    def best(self, row: int, k: int, allowed: NDArray[np.bool_]) -> Ranked | None:
        """(1, k) the k best items of a user among those allowed, (n_items,); None if the list may lack some.

        `allowed` is a part of items that the lists cover (covers()).
        """
        columns = self.columns[row]
        kept = np.flatnonzero((columns >= 0) & allowed[columns])[:k]
        is_complete = columns[-1] < 0  # it has all items that can be ranked
        if len(kept) < k and not is_complete:
            return None
        found, scores = np.full((1, k), -1, np.int32), np.full((1, k), -np.inf, np.float32)
        found[0, : len(kept)], scores[0, : len(kept)] = columns[kept], self.scores[row, kept]
        return Ranked(found, scores)

    def covers(self, on_sale: NDArray[np.bool_], exactly: bool) -> bool:
        """Whether all items that are on sale (n_items,) were on sale when the lists were made.

        exactly: and no others were. A model that ranks candidates proposes others in place of those that are gone.
        """
        return np.array_equal(on_sale, self.on_sale) if exactly else not (on_sale & ~self.on_sale).any()

    @classmethod
    def load(cls, folder: Path, bundle_sha256: str) -> "PrecomputedLists":
        """The lists that write() stored, checked against their hashes. bundle_sha256: of the bundle that serves.

        Raises BundleError if they are damaged, or made from another bundle.
        """
        try:
            note = json.loads((folder / NOTE).read_text())
            if note["bundle_sha256"] != bundle_sha256:
                raise BundleError(f"lists {folder} were made by another bundle; materialise batch_recommendations")
            for name in ARRAYS:
                if sha256(folder / f"{name}.npy") != note["sha256"][name]:
                    raise BundleError(f"lists {folder}: {name}.npy was changed; materialise batch_recommendations")
            return cls(**{name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"lists {folder} cannot be read: {error!r}; materialise batch_recommendations") from error


def folder_of(bundle: Path) -> Path:
    """The folder of the lists of a released bundle: beside it."""
    return bundle.with_name(f"{bundle.name}-lists")


def write(bundle: Path, bundle_sha256: str, lists: ServedLists) -> PrecomputedLists:
    """Makes the lists of all users of the model, now, and stores them beside its bundle; replaces earlier ones.

    They are as long as a list can be so that each beginning of it is itself the list of that length.
    """
    model = lists.model
    n_users, depth, on_sale = len(model.users_), model.longest_list, lists.on_sale()
    shapes: dict[str, Any] = {"columns": ((n_users, depth), np.int32), "scores": ((n_users, depth), np.float32)}
    with atomic_folder(folder_of(bundle)) as staging, threadpool_limits(1):  # one thread: as in the service
        made = {
            name: open_memmap(staging / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
            for name, (shape, dtype) in shapes.items()
        }
        by_popularity = np.zeros(n_users, np.bool_)
        for start in range(0, n_users, CHUNK):
            users = slice(start, min(start + CHUNK, n_users))
            rows = np.arange(users.start, users.stop, dtype=np.int32)
            ranked, by_popularity[users] = lists.recommend(rows, model.histories_[users], depth)
            made["columns"][users], made["scores"][users] = ranked
        for array in made.values():
            array.flush()
        np.save(staging / "by_popularity.npy", by_popularity)
        np.save(staging / "on_sale.npy", on_sale)
        hashes = {name: sha256(staging / f"{name}.npy") for name in ARRAYS}
        (staging / NOTE).write_text(json.dumps({"bundle_sha256": bundle_sha256, "sha256": hashes}))
    return PrecomputedLists.load(folder_of(bundle), bundle_sha256)
