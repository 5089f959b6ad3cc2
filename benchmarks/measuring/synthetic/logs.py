"""Synthetic logs of the sizes at which speed is measured, the same on every machine.

Users have a taste vector of a few dimensions. Items have a vector in the same space and a long-tailed popularity. So a
fitted model ranks better than random, and the quality of two models can be compared.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import DAY
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures

N_TASTES = 16
TASTE, TAIL = 1.6, 1.1  # weight of taste relative to popularity and noise; spread of the items' popularity
DRIFT = 1.0  # weight of drift relative to noise, in the order of a user's items
LOG_VERSION = 2  # raised when the same call would make another log
BLOCK = 512
SECOND = 1_000_000
START = 1_000_000_000 * SECOND


def movielens_like(
    n_users: int = 6040, n_items: int = 3706, n_pairs: int = 1_000_209, seed: int = 42
) -> tuple[Interactions, csr_array]:
    """(log, held-out items) of MovieLens 1M's size, each user's items in the order of a drifting taste.

    A user's items are those with the highest sum of taste, popularity and Gumbel noise, which is a draw without
    replacement from a softmax. Their order is half noise, half a direction of drift in the taste space. The last
    item of each user is held out.
    """
    rng = np.random.default_rng(seed)
    counts = _activity(rng, n_users, n_items, n_pairs)
    users, items = (rng.normal(size=(n, N_TASTES)).astype(np.float32) for n in (n_users, n_items))
    items *= TASTE / np.sqrt(N_TASTES)
    popularity = rng.normal(scale=TAIL, size=n_items).astype(np.float32)
    rows, columns, orders = [], [], []
    for start in range(0, n_users, BLOCK):
        block = users[start : start + BLOCK]
        scores = block @ items.T + popularity
        scores += rng.gumbel(size=scores.shape).astype(np.float32)
        order = np.argsort(-scores, axis=1)
        chosen = np.arange(n_items) < counts[start : start + BLOCK, None]
        drift = rng.normal(size=block.shape).astype(np.float32) @ items.T
        order_key = DRIFT * drift / drift.std() + rng.normal(size=drift.shape)
        rows.append(start + np.nonzero(chosen)[0])
        columns.append(order[chosen])
        orders.append(np.take_along_axis(order_key, order, axis=1)[chosen])
    in_time = np.argsort(np.concatenate(orders), kind="stable")
    user_rows, item_columns = np.concatenate(rows)[in_time], np.concatenate(columns)[in_time]
    n_pairs_of = len(in_time)
    last = np.zeros(n_pairs_of, dtype=np.bool_)
    last[n_pairs_of - 1 - np.unique(user_rows[::-1], return_index=True)[1]] = True
    held_out = csr_array(
        (np.ones(n_users, np.float32), (user_rows[last], item_columns[last])), shape=(n_users, n_items)
    )
    log = _log(user_rows[~last], item_columns[~last], n_users, n_items)
    return log, held_out


def _activity(rng: np.random.Generator, n_users: int, n_items: int, n_pairs: int) -> NDArray[np.int64]:
    """(n_users,) items of each user: at least 20 if there are as many, with a long tail."""
    minimum = min(20, n_items // 4)
    tail = rng.lognormal(sigma=1.1, size=n_users)
    counts = minimum + tail / tail.sum() * max(n_pairs - minimum * n_users, 0)
    return np.minimum(counts.round().astype(np.int64), n_items // 2)


def retailrocket_like(
    n_users: int = 1_400_000, n_items: int = 235_000, n_events: int = 2_700_000, seed: int = 42
) -> Interactions:
    """Retailrocket's size: most visitors come once or twice; each prefers one of many item topics."""
    rng = np.random.default_rng(seed)
    n_topics = max(n_items // 120, 1)
    extra = rng.zipf(1.9, size=n_users).clip(max=2000) - 1.0
    counts = 1 + np.floor(extra * (n_events - n_users) / extra.sum()).astype(np.int64)
    user_rows = rng.permutation(np.repeat(np.arange(n_users), counts))
    topic_of_user = rng.integers(n_topics, size=n_users)
    topic = np.where(
        rng.random(len(user_rows)) < 0.8, topic_of_user[user_rows], rng.integers(n_topics, size=len(user_rows))
    )
    size = n_items // n_topics
    within = np.floor(size * rng.random(len(user_rows)) ** 3).astype(np.int64)
    log = _log(user_rows, topic * size + within, n_users, n_items)
    return replace(log, timestamps=START + np.arange(len(log)) * (137 * DAY // len(log)), repeat=True, dated=True)


def made_features(n_items: int, seed: int = 42) -> ItemFeatures:
    """Item features: a category per 120 items, and ten of 5,000 words for each item."""
    rng = np.random.default_rng(seed)
    categories = np.arange(n_items) // 120
    n_categories, n_words = int(categories[-1]) + 1, 5000
    columns = np.hstack([categories[:, None], n_categories + rng.integers(n_words, size=(n_items, 10))])
    values = np.full(columns.size, 1 / np.sqrt(11), dtype=np.float32)
    indptr = np.arange(n_items + 1) * 11
    vectors = csr_array((values, columns.ravel(), indptr), shape=(n_items, n_categories + n_words))
    return ItemFeatures(vectors, np.array([f"category {number}" for number in categories]))


def _log(user_rows: NDArray[np.int64], item_columns: NDArray[np.int64], n_users: int, n_items: int) -> Interactions:
    """A log with one event per second, in the given order; only the order has a meaning."""
    ones = np.ones(len(user_rows), dtype=np.float32)
    return Interactions(
        _ids("u", n_users),
        _ids("i", n_items),
        user_rows.astype(np.int32),
        item_columns.astype(np.int32),
        START + np.arange(len(user_rows), dtype=np.int64) * SECOND,
        ones,
        ones,
        np.ones(n_items, dtype=np.bool_),
        repeat=False,
        dated=False,
        version=f"made-{LOG_VERSION}-{n_users}-{n_items}-{len(user_rows)}",
    )


def _ids(prefix: str, n: int) -> IdMap:
    width = len(str(n))
    return IdMap(np.array([f"{prefix}{i:0{width}d}" for i in range(n)]))
