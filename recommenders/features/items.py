"""Items as vectors: what content knows about them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """`vectors` (n_items, n_features) float32, each row of length 1 (or 0 where nothing is known), in the order of the items' ids.

    `categories` (n_items,) names each item's category, "" where unknown.
    """

    vectors: csr_array
    categories: NDArray[np.str_]
