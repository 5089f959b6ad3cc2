"""Items like those the buyer knows, by what is written about them."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array, vstack

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.errors import ConfigurationError
from recommenders.models.recommender import ModelConfig, Recommender, Tracker
from recommenders.models.sparse import pack_csr, unpack_csr
from recommenders.models.topk import top_k

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

ITEM_BLOCK = 512  # items compared with all others at once


class ContentBasedConfig(ModelConfig):
    """Which items count as alike."""

    similarity_threshold: float = Field(default=0.7, ge=0.0, le=1.0)  # cosine below which two items are strangers
    max_neighbours: int = Field(default=100, ge=1)  # kept for each item, the item itself among them
    fallback_neighbours: int = Field(default=5, ge=0)  # nearest ones of an item that has none above the threshold
    sharpness: float = Field(default=8.0, gt=0)  # power of the cosine: how much more the very close count


class ContentBased(Recommender):
    """score = log(1 + history) @ similarity: thresholded cosines to a power, the columns divided by their sums.

    The logarithm keeps one bulk line from drowning the rest of a history; the sums keep an item of a crowded shelf from
    winning by the number of its likes. Lops & de Gemmis & Semeraro 2011; Deshpande & Karypis 2004 (normalised columns).
    """

    name = "content_based"
    Config = ContentBasedConfig
    config: ContentBasedConfig
    handles_new_items: ClassVar[bool] = True
    uses_features: ClassVar[bool] = True

    similarity_: csr_array  # (n_items, n_items) float32

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        n_items = len(interactions.items)
        if features is None:
            raise ConfigurationError(
                "content_based learns from item features and got none; pass features=encode_items(items, ids)"
            )
        if features.vectors.shape[0] != n_items:
            raise ConfigurationError(
                f"item features have {features.vectors.shape[0]} rows for {n_items} items; "
                "encode them with the interactions' own item ids"
            )
        blocks = [self._neighbours(features.vectors, start) for start in range(0, n_items, ITEM_BLOCK)]
        similarity = csr_array(vstack(blocks)) if blocks else csr_array((0, 0), dtype=np.float32)
        similarity.data **= np.float32(self.config.sharpness)
        similarity.data /= np.bincount(similarity.indices, similarity.data, minlength=n_items)[similarity.indices]
        self.similarity_ = similarity.astype(np.float32)

    def _neighbours(self, vectors: csr_array, start: int) -> csr_array:
        """(block, n_items): the similarities kept for ITEM_BLOCK items from `start` on."""
        config, n_items = self.config, vectors.shape[0]
        cosines = (vectors[start : start + ITEM_BLOCK] @ vectors.T).toarray().astype(np.float32)
        own = np.arange(start, start + len(cosines))
        cosines[np.arange(len(cosines)), own] = 1.0  # an item is like itself even where nothing is known of it
        columns, values = top_k(cosines, min(max(config.max_neighbours, config.fallback_neighbours + 1), n_items))
        places = np.broadcast_to(np.arange(columns.shape[1]), columns.shape)
        close = (values >= config.similarity_threshold) & (places < config.max_neighbours)
        lonely = close.sum(axis=1, keepdims=True) <= 1
        kept = close | (lonely & (places <= config.fallback_neighbours) & (values > 0))
        rows = np.nonzero(kept)[0]
        return csr_array((values[kept], (rows, columns[kept])), shape=(len(cosines), n_items), dtype=np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): what is like the history; rows of users are not used."""
        damped: csr_array = histories.matrix.log1p()
        scores: NDArray[np.float32] = (damped @ self.similarity_).toarray()
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The similarities kept."""
        return pack_csr("similarity", self.similarity_)

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.similarity_ = unpack_csr("similarity", arrays)
