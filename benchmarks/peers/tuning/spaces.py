"""The peers' models and what may be tried of each: a grid of settings, wide enough that the best lies inside."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np


class Budget(NamedTuple):
    """What ends a search: so many settings tried, or so many seconds spent on them, whichever comes first."""

    trials: int
    seconds: float


BUDGET = Budget(16, 2400.0)  # of every peer, on every data set
VALUES = ("binary", "log", "count")
ROOM = 5  # numbers of an axis from which on its ends are room: steps may get there, lots are not drawn there
Params = dict[str, Any]
Point = tuple[int, ...]  # a place in a grid: which value of each axis

# name in tables -> (environment, model of its runner); the cheap ones first, so that little time tunes many
PEERS: dict[str, tuple[str, str]] = {
    "implicit_als": ("implicit", "als"),
    "implicit_item_neighbours": ("implicit", "item_neighbours"),
    "rectools_ease": ("rectools", "ease"),
    "lenskit_user_neighbours": ("lenskit", "user_neighbours"),
    "lenskit_item_neighbours": ("lenskit", "item_neighbours"),
    "lenskit_als": ("lenskit", "als"),
    "rectools_two_stage": ("rectools", "two_stage"),
    "rectools_sasrec": ("rectools", "sasrec"),
    "recbole_neumf": ("recbole", "neumf"),
    "recbole_sasrec": ("recbole", "sasrec"),
}

# Networks, whose training early stopping ends, and the processor seconds it may take at most.
NETWORKS = {"rectools_sasrec": 3600.0, "recbole_neumf": 400.0, "recbole_sasrec": 3600.0}
# Peers that keep the library's defaults, and why.
UNTUNED = {
    "rectools_sasrec": "a training of 100,000 events takes seven minutes of a processor or more until it stops early; "
    "six trials of 400 seconds on ml-100k found nothing better than the defaults",
    "recbole_sasrec": "one epoch of 100,000 events takes five minutes of a processor",
}

# What each library takes where nothing is said. RecTools' two-stage model has no defaults as a whole: these are
# CatBoost's own, behind 30 candidates of each first model and RecTools' own three negatives a user.
DEFAULTS: dict[str, Params] = {
    "implicit_als": {"factors": 100, "regularization": 0.01, "alpha": 1.0, "iterations": 15},
    "implicit_item_neighbours": {"kind": "cosine", "K": 20},
    "rectools_ease": {"regularization": 500.0},
    "rectools_two_stage": {"candidates": 30, "loss": "pairs", "iterations": 1000, "depth": 6, "negatives": 3},
    "rectools_sasrec": {"n_factors": 256, "n_blocks": 2, "n_heads": 4, "dropout_rate": 0.2, "session_max_len": 100},
    "lenskit_user_neighbours": {"max_nbrs": 20, "min_sim": 1e-6},
    "lenskit_item_neighbours": {"max_nbrs": 20, "min_sim": 1e-6},
    "lenskit_als": {"embedding_size": 50, "regularization": 0.1, "weight": 40.0, "epochs": 10},
    "recbole_neumf": {
        "learning_rate": 0.001,
        "dropout_prob": 0.1,
        "mf_embedding_size": 64,
        "mlp_embedding_size": 64,
        "mlp_hidden_size": [128, 64],
        "negatives": 1,
        "batch_size": 2048,
    },
    "recbole_sasrec": {
        "learning_rate": 0.001,
        "hidden_size": 64,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dropout_prob": 0.5,
        "attn_dropout_prob": 0.5,
        "batch_size": 2048,
    },
}

# Values in order, so that a step along an axis is a small change. What a value that is a mapping holds is set together.
# Epochs of networks are no axis: early stopping ends them, with room up to environments.EPOCHS.
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "implicit_als": {
        "factors": (8, 16, 32, 64, 128, 192, 256, 384, 512, 768),
        "regularization": (0.001, 0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        "alpha": (0.01, 0.05, 0.25, 1.0, 4.0, 10.0, 40.0, 160.0),
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
        "K": (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000),
        "values": VALUES,
    },
    "rectools_ease": {
        "regularization": (1.0, 3.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0),
        "values": VALUES,
    },
    "rectools_two_stage": {
        "candidates": (10, 20, 40, 80, 150, 300, 600),
        "loss": ("logloss", "pairs", "listwise"),
        "size": tuple(
            {"iterations": iterations, "learning_rate": rate}
            for iterations, rate in ((100, 0.1), (300, 0.1), (300, 0.05), (1000, 0.05), (1000, 0.02))
        ),
        "depth": (2, 3, 4, 6, 8, 10),
        "negatives": (3, 10, 30, None),
        "new_only": (False, True),
    },
    "rectools_sasrec": {
        "n_factors": (16, 32, 64, 128, 256, 384),
        "n_blocks": (1, 2, 3),
        "n_heads": (1, 2, 4),
        "dropout_rate": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7),
        "lr": (0.0001, 0.0003, 0.001, 0.003, 0.01),
        "session_max_len": (25, 50, 100, 200, 400),
        "loss": ({"loss": "softmax"}, {"loss": "gBCE", "n_negatives": 128}),
    },
    "lenskit_user_neighbours": {
        "max_nbrs": (1, 2, 5, 10, 20, 40, 60, 80, 150, 300, 600, 1200),
        "min_sim": (1e-6, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    },
    "lenskit_item_neighbours": {
        "max_nbrs": (2, 5, 10, 20, 40, 80, 200, 500, 1000, 2000, 5000),
        "min_sim": (1e-6, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
        "save_nbrs": (2, 5, 10, 30, 100, 500, 2000, None),
    },
    "lenskit_als": {
        "embedding_size": (8, 16, 32, 64, 128, 192, 256, 384, 512, 768),
        "regularization": (0.0003, 0.003, 0.01, 0.03, 0.1, 1.0, 10.0, 30.0, 100.0, 300.0),
        "weight": (0.001, 0.003, 0.01, 0.05, 0.25, 1.0, 4.0, 10.0, 40.0, 160.0),
        "use_ratings": (False, True),
        "values": VALUES,
    },
    "recbole_neumf": {
        "learning_rate": (0.0001, 0.0003, 0.0005, 0.001, 0.003, 0.01, 0.03, 0.1),
        "dropout_prob": (0.0, 0.1, 0.3, 0.5, 0.7),
        "mf_embedding_size": (4, 8, 16, 32, 64, 128, 256),
        "mlp_embedding_size": (4, 8, 16, 32, 64, 128, 256),
        "mlp_hidden_size": ([32, 16], [64, 32, 16], [128, 64], [256, 128, 64]),
        "negatives": (1, 4),
        "batch_size": (2048,),
    },
    "recbole_sasrec": {
        "learning_rate": (0.0001, 0.0003, 0.001, 0.003, 0.01),
        "hidden_size": (16, 32, 64, 128, 256),
        "n_layers": (1, 2, 3),
        "n_heads": (1, 2, 4),
        "hidden_dropout_prob": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7),
        "attn_dropout_prob": (0.0, 0.2, 0.5),
        "loss_type": ("CE",),
        "batch_size": (512,),
    },
}
# Axes whose ends are no edges: nothing lies beyond, or what does is another kind of model.
WHOLE = {"n_blocks", "n_heads", "n_layers", "attn_dropout_prob", "negatives"}


def params_at(name: str, point: Point) -> Params:
    """The settings of a place in a model's grid."""
    chosen: Params = {}
    for (axis, values), place in zip(GRIDS[name].items(), point, strict=True):
        value = values[place]
        chosen |= value if isinstance(value, Mapping) else {axis: value}
    return chosen


def scattered(name: str, n: int, seed: int = 42) -> list[Point]:
    """n places of a model's grid drawn by lot, the same ones every time; fewer where the grid holds fewer.

    The ends of a long axis of numbers are not drawn: they are there so that steps have somewhere to go.
    """
    every = list(itertools.product(*(_drawn(axis, values) for axis, values in GRIDS[name].items())))
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
    """The axes on whose first or last number the settings stand, though the best may lie beyond.

    Nothing lies beyond 0, nor beyond all neighbours (None).
    """
    found = []
    for axis, values in GRIDS[name].items():
        ends = [value for value in (values[0], values[-1]) if _is_number(value) and value > 1e-6]
        if len(values) > 1 and axis not in WHOLE and _is_number(values[0]) and params.get(axis) in ends:
            found.append(axis)
    return found


def _drawn(axis: str, values: tuple[Any, ...]) -> range:
    """The places of an axis that lots may take."""
    if axis in WHOLE or len(values) < ROOM or not _is_number(values[0]):
        return range(len(values))
    first = int(values[0] > 1e-6)  # what is (nearly) 0 has nothing beyond, so it is no room
    return range(first, len(values) - int(values[-1] is not None))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
