"""The peers' models and what is tried of each: the same number of settings, drawn once from a declared grid."""

import itertools
from typing import Any

import numpy as np

TRIALS = 12
VALUES = ("count", "log", "binary")

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

GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "implicit_als": {
        "factors": (32, 64, 128, 192),
        "regularization": (0.01, 0.1, 1.0, 10.0),
        "alpha": (1.0, 4.0, 10.0, 40.0),
        "iterations": (15,),
        "values": VALUES,
    },
    "implicit_item_neighbours": {
        "kind": ("cosine", "tfidf", "bm25"),
        "K": (10, 20, 50, 100, 200, 500),
        "values": VALUES,
    },
    "rectools_ease": {"regularization": (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0), "values": VALUES},
    "lenskit_user_neighbours": {"max_nbrs": (10, 20, 40, 60, 80, 150, 300), "min_sim": (1e-6, 0.02, 0.05, 0.1)},
    "lenskit_item_neighbours": {
        "max_nbrs": (5, 10, 20, 40, 80, 200),
        "min_sim": (1e-6, 0.02, 0.05, 0.1),
        "save_nbrs": (None, 100, 500),
    },
    "lenskit_als": {
        "embedding_size": (32, 64, 128),
        "regularization": (0.1, 1.0, 10.0),
        "weight": (1.0, 4.0, 10.0, 40.0),
        "use_ratings": (False, True),
        "values": VALUES,
    },
    "recbole_neumf": {
        "epochs": (5, 10, 20),
        "learning_rate": (0.0005, 0.001, 0.003),
        "dropout_prob": (0.0, 0.1, 0.3),
        "mf_embedding_size": (16, 32, 64),
        "mlp_embedding_size": (16, 32, 64),
        "mlp_hidden_size": ([64, 32, 16], [128, 64]),
        "negatives": (4,),
        "batch_size": (2048,),
    },
}


def trials(name: str, n: int = TRIALS, seed: int = 42) -> list[dict[str, Any]]:
    """n different settings of a model's grid, the same ones every time."""
    grid = GRIDS[name]
    every = [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]
    picked = np.random.default_rng(seed).permutation(len(every))[:n]
    return [every[place] for place in sorted(picked)]
