"""SASRec's forward pass in numpy: what answers requests."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories

if TYPE_CHECKING:
    pass


Floats = NDArray[np.float32]

LAYERS = ("qkv", "out", "up", "down")  # of a block, in the order they are used
TILE = 4096  # tokens of several histories whose hidden layers are held at once
EPSILON = np.float32(1e-6)


class Network(NamedTuple):
    """The learned weights, (inputs, outputs) each, as numpy uses them."""

    items: Floats  # (n_items, embedding_dim), read at the entrance and again at the exit
    positions: Floats  # (length, embedding_dim)
    blocks: list[dict[str, tuple[Floats, Floats]]]  # layer -> weights and biases
    heads: int
    by_moment: bool  # a token is all that was bought at one moment; else one event


def ordered_share(histories: Histories) -> float:
    """Of the buyers with two events or more, the share whose events are not all of one moment; 0 if there are none."""
    several = histories.counts > 1
    first, last = histories.indptr[:-1][several], histories.indptr[1:][several] - 1
    return float(np.mean(histories.timestamps[first] != histories.timestamps[last])) if several.any() else 0.0


def network_of(arrays: Mapping[str, NDArray[Any]], heads: int) -> Network:
    """The network among named arrays. Raises KeyError if a part is missing."""
    n_blocks = sum(name.startswith("block") and name.endswith("qkv.weights") for name in arrays)

    def layers(i: int) -> dict[str, tuple[Floats, Floats]]:
        return {name: (arrays[f"block{i}.{name}.weights"], arrays[f"block{i}.{name}.biases"]) for name in LAYERS}

    blocks = [layers(i) for i in range(n_blocks)]
    return Network(arrays["items"], arrays["positions"], blocks, heads, bool(arrays["by_moment"][0]))


def arrays_of(network: Network) -> dict[str, NDArray[Any]]:
    """The inverse of network_of."""
    found: dict[str, NDArray[Any]] = {"items": network.items, "positions": network.positions}
    for i, block in enumerate(network.blocks):
        for name, (weights, biases) in block.items():
            found |= {f"block{i}.{name}.weights": weights, f"block{i}.{name}.biases": biases}
    return {**found, "by_moment": np.array([network.by_moment])}


def encode(histories: Histories, network: Network) -> Floats:
    """(n, embedding_dim): what the newest tokens of each history say of what comes; 0 for an empty one."""
    starts = token_starts(histories, network.by_moment)
    ends = np.searchsorted(starts, histories.indptr) if network.by_moment else histories.indptr
    counts = np.minimum(np.diff(ends), len(network.positions))
    found = np.zeros((len(counts), network.items.shape[1]), dtype=np.float32)
    for rows in _tiles(counts):
        last, steps = ends[rows + 1], counts[rows]
        which, tokens = expand(last - steps, last)
        vectors = np.zeros((len(rows), int(steps.max()), found.shape[1]), dtype=np.float32)
        vectors[which, tokens - (last - steps)[which]] = token_vectors(histories.item_columns, starts, tokens, network)
        found[rows] = _encode_together(vectors, steps, network)
    return found


def token_starts(histories: Histories, by_moment: bool) -> NDArray[np.int64]:
    """(n_tokens,) the first event of each token: an event alone, or all those of one buyer at one moment."""
    n_events = len(histories.item_columns)
    if not by_moment:
        return np.arange(n_events)
    begins = np.append(True, histories.timestamps[1:] != histories.timestamps[:-1])[:n_events]
    begins[histories.indptr[:-1][histories.counts > 0]] = True
    return np.flatnonzero(begins)


def token_vectors(
    item_columns: NDArray[np.int32], starts: NDArray[np.int64], tokens: NDArray[np.int64], network: Network
) -> Floats:
    """(len(tokens), embedding_dim): the sum of a token's items over the root of their number, so that all are alike."""
    scale = np.float32(network.items.shape[1] ** 0.5)
    if not network.by_moment:
        return network.items[item_columns[tokens]] * scale
    bounds = np.append(starts, len(item_columns))
    sizes = bounds[tokens + 1] - bounds[tokens]
    _, events = expand(bounds[tokens], bounds[tokens + 1])
    sums = np.add.reduceat(network.items[item_columns[events]], np.cumsum(sizes) - sizes)
    vectors: Floats = sums * (scale / np.sqrt(sizes, dtype=np.float32))[:, None]
    return vectors


def expand(first: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each range first <= i < stop, and each of its places, one range after the other."""
    sizes = stop - first
    rows = np.repeat(np.arange(len(sizes)), sizes)
    return rows, np.arange(len(rows)) + (first - np.cumsum(sizes) + sizes)[rows]


def _tiles(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows with tokens, those of like counts together, TILE tokens in all."""
    order = np.argsort(counts, kind="stable")[::-1]
    start, stop = 0, int(np.count_nonzero(counts))
    while start < stop:
        n_together = max(1, TILE // int(counts[order[start]]))
        yield order[start : min(start + n_together, stop)]
        start += n_together


def _encode_together(hidden: Floats, counts: NDArray[np.int64], network: Network) -> Floats:
    """Tokens (n, width, size), oldest first -> (n, size). What stands behind a history's last is never looked at."""
    width, last = hidden.shape[1], counts - 1
    hidden += network.positions[:width]
    steps = np.arange(width)
    unseen = np.where(steps > steps[:, None], np.float32(-np.inf), np.float32(0.0))
    for block in network.blocks[:-1]:
        hidden = _forward(block, hidden, hidden, unseen, network.heads)
    asked = hidden[np.arange(len(last)), last][:, None]  # of the last block only the last tokens' outcome is read
    unseen = unseen[last][:, None, None]
    return normalised(_forward(network.blocks[-1], hidden, asked, unseen, network.heads)[:, 0])


def _forward(
    block: dict[str, tuple[Floats, Floats]], hidden: Floats, asked: Floats, unseen: Floats, heads: int
) -> Floats:
    """One block: hidden (n, width, size), the tokens that ask (n, m, size) -> their new vectors (n, m, size).

    unseen: (m, width), or (n, 1, m, width): -inf where a token must not look.
    """
    n, _, size = hidden.shape
    weights, biases = block["qkv"]
    keys_values = normalised(hidden) @ weights[:, size:] + biases[size:]
    queries = normalised(asked) @ weights[:, :size] + biases[:size]

    def split(vectors: Floats) -> Floats:
        return vectors.reshape(n, -1, heads, size // heads).transpose(0, 2, 1, 3)

    shares = split(queries) @ split(keys_values[..., :size]).transpose(0, 1, 3, 2)
    shares *= np.float32((heads / size) ** 0.5)
    shares += unseen
    shares -= shares.max(axis=-1, keepdims=True)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=-1, keepdims=True)
    values = split(keys_values[..., size:])
    seen: Floats = np.matmul(shares, values).transpose(0, 2, 1, 3).reshape(n, -1, size)
    attended: Floats = asked + _linear(block, "out", seen)
    inner = _linear(block, "up", normalised(attended))
    np.maximum(inner, 0.0, out=inner)
    outcome: Floats = attended + _linear(block, "down", inner)
    return outcome


def _linear(block: dict[str, tuple[Floats, Floats]], name: str, inputs: Floats) -> Floats:
    weights, biases = block[name]
    outputs: Floats = inputs @ weights
    outputs += biases
    return outputs


def normalised(vectors: Floats) -> Floats:
    """Each vector scaled to a mean square of one (Zhang & Sennrich 2019)."""
    squares = np.einsum("...i,...i->...", vectors, vectors) / np.float32(vectors.shape[-1])
    scaled: Floats = vectors / np.sqrt(squares + EPSILON)[..., None]
    return scaled
