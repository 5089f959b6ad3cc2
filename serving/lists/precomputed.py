"""The lists of all known users, made once per version: a known user without newer events then needs no model.

    champions/custom_b2b/7/           the bundle of the version
    champions/custom_b2b/7-lists/     its lists: lists.json, and an array of each name in ARRAYS

The arrays are mapped into memory, so all workers of a machine share them. A list is longer than most requests, so that
items which are no longer on sale, or which a request excludes, leave enough others.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders.errors import BundleError
from recommenders.math.ranked import Ranked
from recommenders.models.calibration import Kind
from recommenders.storage.atomic_files import atomic_folder, sha256
from serving.lists.served_lists import ServedLists

NOTE = "lists.json"
DECIMALS = 6  # of a probability in an answer
ARRAYS = ("columns", "scores", "probabilities", "by_popularity", "on_sale")
UNKNOWN = -1  # probability of the items of a list that is not calibrated
CHUNK = 512  # users whose lists are made and written together


@dataclass(frozen=True, eq=False)
class PrecomputedLists:
    """Lists of the scene `for_you`, as ServedLists.recommend() makes them for the stored histories."""

    columns: NDArray[np.int32]  # (n_users, depth) item columns, best first, -1 where a list ends
    scores: NDArray[np.float32]  # (n_users, depth)
    probabilities: NDArray[np.int32]  # (n_users, depth) in units of 10 ** -DECIMALS; UNKNOWN without a calibration
    by_popularity: NDArray[np.bool_]  # (n_users,) whether the list is of popularity alone
    on_sale: NDArray[np.bool_]  # (n_items,) the items that were on sale when the lists were made

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def version(self) -> str:
        """The same for lists of one bundle that were made while the same items were on sale."""
        return hashlib.sha256(self.on_sale.tobytes()).hexdigest()

    @property
    def depth(self) -> int:
        """The length of the lists."""
        return int(self.columns.shape[1])

    def known_probabilities(self, row: int, k: int) -> list[float] | None:
        """The probabilities of the first k items of a user, as they are answered; None without a calibration."""
        found = self.probabilities[row, :k]
        return None if len(found) and found[0] == UNKNOWN else (found / 10**DECIMALS).tolist()

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
            return cls(**{name: _mapped(folder / f"{name}.npy") for name in ARRAYS})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"lists {folder} cannot be read: {error!r}; materialise batch_recommendations") from error


def _mapped(file: Path) -> NDArray[Any]:
    """The array of a file, mapped into memory. A plain view: np.memmap takes ten times as long to read a row."""
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def folder_of(bundle: Path) -> Path:
    """The folder of the lists of a released bundle: beside it."""
    return bundle.with_name(f"{bundle.name}-lists")


def write(bundle: Path, bundle_sha256: str, lists: ServedLists) -> PrecomputedLists:
    """Makes the lists of all users of the model, now, and stores them beside its bundle; replaces earlier ones.

    They are as long as a list can be so that each beginning of it is itself the list of that length.
    """
    model = lists.model
    n_users, depth, on_sale = len(model.users_), model.longest_list, lists.on_sale()
    types = {"columns": np.int32, "scores": np.float32, "probabilities": np.int32}
    with atomic_folder(folder_of(bundle)) as staging, threadpool_limits(1):  # one thread: as in the service
        made = {
            name: open_memmap(staging / f"{name}.npy", mode="w+", dtype=dtype, shape=(n_users, depth))
            for name, dtype in types.items()
        }
        by_popularity = np.zeros(n_users, np.bool_)
        for start in range(0, n_users, CHUNK):
            users = slice(start, min(start + CHUNK, n_users))
            rows = np.arange(users.start, users.stop, dtype=np.int32)
            ranked, by_popularity[users] = lists.recommend(rows, model.histories_[users], depth)
            made["columns"][users], made["scores"][users] = ranked
            made["probabilities"][users] = _probabilities(lists, ranked, by_popularity[users])
        for array in made.values():
            array.flush()
        np.save(staging / "by_popularity.npy", by_popularity)
        np.save(staging / "on_sale.npy", on_sale)
        hashes = {name: sha256(staging / f"{name}.npy") for name in ARRAYS}
        (staging / NOTE).write_text(json.dumps({"bundle_sha256": bundle_sha256, "sha256": hashes}))
    return PrecomputedLists.load(folder_of(bundle), bundle_sha256)


def _probabilities(lists: ServedLists, ranked: Ranked, by_popularity: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(n, depth): the probabilities of lists of the scene `for_you`, in units of 10 ** -DECIMALS."""
    found = np.full(ranked.scores.shape, UNKNOWN, np.int32)
    masks: dict[Kind, NDArray[np.bool_]] = {"all": ~by_popularity, "popularity": by_popularity}
    for kind, mask in masks.items():
        if (known := lists.probabilities(kind, ranked.scores[mask])) is not None:
            found[mask] = (known.astype(np.float64) * 10**DECIMALS).round()
    return found
