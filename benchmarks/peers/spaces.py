"""The peers' models and what may be tried of each: a grid of settings, wide enough that the best lies inside."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

TRIALS = 16  # settings tried of every peer, on every data set
VALUES = ("binary", "log", "count")
Params = dict[str, Any]
Point = tuple[int, ...]  # a place in a grid: which value of each axis

# name in tables -> (environment, model of its runner)
PEERS: dict[str, tuple[str, str]] = {
    "implicit_als": ("implicit", "als"),
    "implicit_item_neighbours": ("implicit", "item_neighbours"),
    "rectools_ease": ("rectools", "ease"),
    "lenskit_user_neighbours": ("lenskit", "user_neighbours"),
    "lenskit_item_neighbours": ("lenskit", "item_neighbours"),
    "lenskit_als": ("lenskit", "als"),
    "recbole_neumf": ("recbole", "neumf"),
}

# What each library takes where nothing is said. RecBole's 300 epochs end by early stopping; here their number is fixed.
DEFAULTS: dict[str, Params] = {
    "implicit_als": {"factors": 100, "regularization": 0.01, "alpha": 1.0, "iterations": 15},
    "implicit_item_neighbours": {"kind": "cosine", "K": 20},
    "rectools_ease": {"regularization": 500.0},
    "lenskit_user_neighbours": {"max_nbrs": 20, "min_sim": 1e-6},
    "lenskit_item_neighbours": {"max_nbrs": 20, "min_sim": 1e-6},
    "lenskit_als": {"embedding_size": 50, "regularization": 0.1, "weight": 40.0, "epochs": 10},
    "recbole_neumf": {
        "epochs": 20,
        "learning_rate": 0.001,
        "dropout_prob": 0.1,
        "mf_embedding_size": 64,
        "mlp_embedding_size": 64,
        "mlp_hidden_size": [128, 64],
        "negatives": 1,
        "batch_size": 2048,
    },
}

# Values in order, so that a step along an axis is a small change. What a value that is a mapping holds is set together.
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "implicit_als": {
        "factors": (16, 32, 64, 128, 192, 256, 384),
        "regularization": (0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0),
        "alpha": (0.25, 1.0, 4.0, 10.0, 40.0),
        "iterations": (15,),
        "values": VALUES,
    },
    "implicit_item_neighbours": {
        "kind": (
            {"kind": "cosine"},
            {"kind": "tfidf"},
            {"kind": "bm25"},
            {"kind": "bm25", "K1": 10.0},
            {"kind": "bm25", "K1": 100.0},
        ),
        "K": (5, 10, 20, 50, 100, 200, 500, 1000, 2000),
        "values": VALUES,
    },
    "rectools_ease": {
        "regularization": (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0),
        "values": VALUES,
    },
    "lenskit_user_neighbours": {
        "max_nbrs": (5, 10, 20, 40, 60, 80, 150, 300),
        "min_sim": (1e-6, 0.02, 0.05, 0.1, 0.2),
    },
    "lenskit_item_neighbours": {
        "max_nbrs": (5, 10, 20, 40, 80, 200, 500, 1000),
        "min_sim": (1e-6, 0.02, 0.05, 0.1, 0.2, 0.3),
        "save_nbrs": (100, 500, None),
    },
    "lenskit_als": {
        "embedding_size": (16, 32, 64, 128, 192, 256),
        "regularization": (0.003, 0.01, 0.03, 0.1, 1.0, 10.0, 30.0),
        "weight": (0.25, 1.0, 4.0, 10.0, 40.0),
        "use_ratings": (False, True),
        "values": VALUES,
    },
    "recbole_neumf": {
        "epochs": (5, 10, 20, 30),
        "learning_rate": (0.0003, 0.0005, 0.001, 0.003),
        "dropout_prob": (0.0, 0.1, 0.3, 0.5),
        "mf_embedding_size": (8, 16, 32, 64),
        "mlp_embedding_size": (8, 16, 32, 64),
        "mlp_hidden_size": ([32, 16], [64, 32, 16], [128, 64]),
        "negatives": (4,),
        "batch_size": (2048,),
    },
}


def params_at(name: str, point: Point) -> Params:
    """The settings of a place in a model's grid."""
    chosen: Params = {}
    for (axis, values), place in zip(GRIDS[name].items(), point, strict=True):
        value = values[place]
        chosen |= value if isinstance(value, Mapping) else {axis: value}
    return chosen


def scattered(name: str, n: int, seed: int = 42) -> list[Point]:
    """n places of a model's grid drawn by lot, the same ones every time; fewer where the grid holds fewer."""
    every = list(itertools.product(*(range(len(values)) for values in GRIDS[name].values())))
    return [every[place] for place in np.random.default_rng(seed).permutation(len(every))[:n]]


def neighbours(name: str, point: Point, fixed: Collection[str] = ()) -> Iterator[Point]:
    """The places one step away along any axis but the fixed ones."""
    for axis, (label, values) in enumerate(GRIDS[name].items()):
        for place in (point[axis] + 1, point[axis] - 1):
            if 0 <= place < len(values) and label not in fixed:
                yield (*point[:axis], place, *point[axis + 1 :])


def place_of(name: str, params: Params) -> Point | None:
    """Where in the model's grid the settings stand; None if they stand outside."""
    every = itertools.product(*(range(len(values)) for values in GRIDS[name].values()))
    return next((point for point in every if params_at(name, point) == params), None)


def at_edge(name: str, params: Params) -> list[str]:
    """The axes on whose first or last number the settings stand, though the best may lie beyond; 0 has no beyond."""
    found = []
    for axis, values in GRIDS[name].items():
        ends = [value for value in (values[0], values[-1]) if isinstance(value, int | float) and value > 1e-6]
        if len(values) > 1 and not isinstance(values[0], bool) and params.get(axis) in ends:
            found.append(axis)
    return found
