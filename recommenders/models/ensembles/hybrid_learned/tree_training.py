"""Trains boosted trees with XGBoost and converts them to arrays. Imported only while fitting."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xgboost import QuantileDMatrix, train

from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.examples import Examples
from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees


def train_trees(config: HybridLearnedConfig, examples: Examples, threads: int | None = None) -> BoostedTrees:
    """Trains config.n_estimators trees whose score is the log odds of a positive label.

    There must be positive and negative examples, and no nan. threads: None for all; the trees do not depend on it.
    """
    positive = float(np.average(examples.labels, weights=examples.weights))
    data = QuantileDMatrix(examples.features, examples.labels, weight=examples.weights, nthread=threads)
    parameters = parameters_of(config, len(examples.labels), positive) | {"nthread": threads or 0}  # 0: all
    booster = train(parameters, data, config.n_estimators)
    baseline = float(np.log(positive / (1 - positive)))
    return trees_from_json(booster.save_raw(raw_format="json"), config.max_depth, baseline)


def parameters_of(config: HybridLearnedConfig, n_examples: int, positive: float) -> dict[str, Any]:
    """The parameters of XGBoost. positive: the share of positive examples."""
    min_leaf = float(np.clip(n_examples // 500, 5, 300))
    return {
        "objective": "binary:logistic",
        "base_score": positive,
        "eta": config.learning_rate,
        "max_depth": config.max_depth,
        "min_child_weight": min_leaf * positive * (1 - positive),  # XGBoost counts an example as p (1 - p)
        "lambda": 20.0,
        "colsample_bynode": 0.5,
        "seed": config.seed,
    }


def trees_from_json(model: bytes | bytearray, depth: int, baseline: float) -> BoostedTrees:
    """Converts a model in XGBoost's JSON format, with numerical features and one output, to arrays.

    depth: no tree is deeper; ValueError if one is. baseline: the score to which the trees add, as log odds. The rows to
    score must contain no nan. The format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
    """
    trees = json.loads(model)["learner"]["gradient_booster"]["model"]["trees"]
    perfect = [_perfect_tree(tree, depth) for tree in trees]
    features, thresholds, values = (np.stack(part) for part in zip(*perfect, strict=True))
    return BoostedTrees(features, thresholds, values, baseline)


def _perfect_tree(
    tree: dict[str, Any], depth: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Features and thresholds of the nodes, level by level, and the values of the leaves."""
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    conditions = np.array(tree["split_conditions"], dtype=np.float32)  # of a leaf: its value
    # XGBoost sends a row left if its value is below the condition, these arrays if it is not above the threshold
    below = np.nextafter(conditions, np.float32(-np.inf))
    is_leaf = left < 0
    features = np.where(is_leaf, 0, tree["split_indices"]).astype(np.int32)
    thresholds = np.where(is_leaf, np.float32(np.inf), below)
    levels = [np.zeros(1, dtype=np.intp)]  # the node at each place; a leaf above the last level is repeated
    for _ in range(depth):
        nodes = levels[-1]
        children = np.stack([left[nodes], right[nodes]], axis=1)
        levels.append(np.where(is_leaf[nodes, None], nodes[:, None], children).ravel())
    inner, leaves = np.concatenate(levels[:-1]), levels[-1]
    if not is_leaf[leaves].all():
        raise ValueError(f"a tree is deeper than {depth} levels")
    return features[inner], thresholds[inner], conditions[leaves]
