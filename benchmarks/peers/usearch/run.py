"""Searches the item factors of a model with a graph index of usearch, and compares with all inner products.

    python run.py FOLDER

FOLDER/factors.npz has `items` (n_items, d) and `users` (n, d), both float32. The last line is JSON: for each way its
recall of the exact top 40, and the median milliseconds of a search on one thread.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from usearch.index import Index

K = 40
EXPANSIONS = (64, 256, 1024)  # candidates that a search visits


def main() -> None:
    """Measures inner products, the index by inner product, and by the distance that has the same order."""
    found = np.load(Path(sys.argv[1]) / "factors.npz")
    items, users = found["items"], found["users"]
    exact = [set(np.argpartition(-(items @ user), K)[:K].tolist()) for user in users]
    rows = {"all inner products": measure(lambda user: np.argpartition(-(items @ user), K)[:K], users, exact)}
    for name, (stored, asked, metric) in {
        "inner product": (items, users, "ip"),
        "distance": (*as_distances(items, users), "l2sq"),
    }.items():
        started = time.perf_counter()
        index = Index(ndim=stored.shape[1], metric=metric, dtype="f32")
        index.add(np.arange(len(stored)), stored, threads=1)
        seconds = time.perf_counter() - started
        for expansion in EXPANSIONS:
            index.expansion_search = expansion
            row = measure(lambda user, index=index: index.search(user, K).keys, asked, exact)
            rows[f"index by {name}, {expansion} visited"] = row | {"build_seconds": seconds}
    print(json.dumps(rows))


def measure(search: Callable[[np.ndarray], np.ndarray], users: np.ndarray, exact: list[set[int]]) -> dict[str, float]:
    """The recall of the exact items, and the median milliseconds."""
    recalls, times = [], []
    for user, expected in zip(users, exact, strict=True):
        started = time.perf_counter()
        keys = search(user)
        times.append(time.perf_counter() - started)
        recalls.append(len(expected & set(keys.tolist())) / K)
    return {"recall": float(np.mean(recalls)), "ms": float(np.median(times)) * 1e3}


def as_distances(items: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of one more dimension whose distance falls as the inner product rises (Bachrach et al. 2014)."""
    lengths = np.linalg.norm(items, axis=1)
    longest = lengths.max()
    rest = np.sqrt(np.maximum(longest**2 - lengths**2, 0.0))
    unit = users / np.maximum(np.linalg.norm(users, axis=1, keepdims=True), 1e-30)
    stored = np.hstack([items, rest[:, None]]).astype(np.float32)
    return stored, np.hstack([unit * longest, np.zeros((len(users), 1))]).astype(np.float32)


if __name__ == "__main__":
    main()
