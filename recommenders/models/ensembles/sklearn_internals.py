"""The private parts of scikit-learn that hold fitted boosted trees. scikit-learn has no public names for them.

Imports no scikit-learn: it reads the attributes of an estimator that is passed in.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def tree_nodes(estimator: Any) -> list[NDArray[np.void]]:
    """The nodes of each tree of a fitted HistGradientBoosting estimator with one output, the root first.

    Fields: is_leaf, value (of a leaf), feature_idx, num_threshold (rows at or below it go left), left and right
    (positions of the children).
    """
    return [predictor.nodes for (predictor,) in estimator._predictors]


def baseline(estimator: Any) -> float:
    """The prediction, as a raw score, to which the trees add."""
    return float(np.ravel(estimator._baseline_prediction)[0])
