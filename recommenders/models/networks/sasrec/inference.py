"""SASRec's forward pass in numpy, which serves requests: histories -> user embeddings."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.math.ragged import expand_ranges

Floats = NDArray[np.float32]

LAYERS = ("qkv", "out", "up", "down")  # of a block, in the order of their use
TILE = 4096  # tokens of several histories whose hidden layers are in memory at once
EPSILON = np.float32(1e-6)


class Network(NamedTuple):
    """The trained weights, (inputs, outputs) each, as numpy uses them."""

    item_embeddings: Floats  # (n_items, embedding_dim), used for the input and for the output
    position_embeddings: Floats  # (history_length, embedding_dim)
    blocks: list[dict[str, tuple[Floats, Floats]]]  # layer -> weights and biases
    n_heads: int
    by_visit: bool  # whether a token is a visit; else it is one event


def ordered_share(histories: Histories) -> float:
    """Of the users with two events or more, the share whose events are of several visits; 0 if there are none."""
    several = histories.counts > 1
    first, last = histories.indptr[:-1][several], histories.indptr[1:][several] - 1
    return float(np.mean(histories.timestamps[first] != histories.timestamps[last])) if several.any() else 0.0


def network_from_arrays(arrays: Mapping[str, NDArray[Any]], n_heads: int) -> Network:
    """The network of named arrays. Raises KeyError if a part is missing."""
    n_blocks = sum(name.startswith("block") and name.endswith("qkv.weights") for name in arrays)

    def layers(i: int) -> dict[str, tuple[Floats, Floats]]:
        return {name: (arrays[f"block{i}.{name}.weights"], arrays[f"block{i}.{name}.biases"]) for name in LAYERS}

    blocks = [layers(i) for i in range(n_blocks)]
    return Network(
        arrays["item_embeddings"], arrays["position_embeddings"], blocks, n_heads, bool(arrays["by_visit"][0])
    )


def network_to_arrays(network: Network) -> dict[str, NDArray[Any]]:
    """The inverse of network_from_arrays."""
    found: dict[str, NDArray[Any]] = {
        "item_embeddings": network.item_embeddings,
        "position_embeddings": network.position_embeddings,
    }
    for i, block in enumerate(network.blocks):
        for name, (weights, biases) in block.items():
            found |= {f"block{i}.{name}.weights": weights, f"block{i}.{name}.biases": biases}
    return {**found, "by_visit": np.array([network.by_visit])}


def encode(histories: Histories, network: Network) -> Floats:
    """(n, embedding_dim): a user embedding from the newest tokens of each history; 0 for an empty history."""
    starts = token_starts(histories, network.by_visit)
    ends = np.searchsorted(starts, histories.indptr) if network.by_visit else histories.indptr
    counts = np.minimum(np.diff(ends), len(network.position_embeddings))
    found = np.zeros((len(counts), network.item_embeddings.shape[1]), dtype=np.float32)
    for rows in _tiles(counts):
        last, steps = ends[rows + 1], counts[rows]
        which, tokens = expand_ranges(last - steps, last)
        embeddings = np.zeros((len(rows), int(steps.max()), found.shape[1]), dtype=np.float32)
        embeddings[which, tokens - (last - steps)[which]] = token_embeddings(
            histories.item_columns, starts, tokens, network
        )
        found[rows] = _encode_tile(embeddings, steps, network)
    return found


def token_starts(histories: Histories, by_visit: bool) -> NDArray[np.int64]:
    """(n_tokens,) the first event of each token. A token is one event or, by_visit, all events of one visit."""
    n_events = len(histories.item_columns)
    if not by_visit:
        return np.arange(n_events)
    begins = np.append(True, histories.timestamps[1:] != histories.timestamps[:-1])[:n_events]
    begins[histories.indptr[:-1][histories.counts > 0]] = True
    return np.flatnonzero(begins)


def token_embeddings(
    item_columns: NDArray[np.int32], starts: NDArray[np.int64], tokens: NDArray[np.int64], network: Network
) -> Floats:
    """(len(tokens), embedding_dim): the sum of a token's item embeddings over the square root of their number.

    The division keeps the expected size of a token embedding independent of the number of items.
    """
    scale = np.float32(network.item_embeddings.shape[1] ** 0.5)
    if not network.by_visit:
        return network.item_embeddings[item_columns[tokens]] * scale
    bounds = np.append(starts, len(item_columns))
    sizes = bounds[tokens + 1] - bounds[tokens]
    _, events = expand_ranges(bounds[tokens], bounds[tokens + 1])
    sums = np.add.reduceat(network.item_embeddings[item_columns[events]], np.cumsum(sizes) - sizes)
    embeddings: Floats = sums * (scale / np.sqrt(sizes, dtype=np.float32))[:, None]
    return embeddings


def _tiles(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows with tokens, grouped by similar counts, with TILE tokens at most in a group of several rows."""
    order = np.argsort(counts, kind="stable")[::-1]
    start, stop = 0, int(np.count_nonzero(counts))
    while start < stop:
        n_rows = max(1, TILE // int(counts[order[start]]))
        yield order[start : min(start + n_rows, stop)]
        start += n_rows


def _encode_tile(hidden: Floats, counts: NDArray[np.int64], network: Network) -> Floats:
    """Tokens (n, width, size), oldest first -> (n, size). Cells after the last token of a history are never read."""
    width, last = hidden.shape[1], counts - 1
    hidden += network.position_embeddings[:width]
    steps = np.arange(width)
    mask = np.where(steps > steps[:, None], np.float32(-np.inf), np.float32(0.0))
    for block in network.blocks[:-1]:
        hidden = _forward(block, hidden, hidden, mask, network.n_heads)
    queries = hidden[np.arange(len(last)), last][
        :, None
    ]  # of the last block, only the output of the last tokens is used
    mask = mask[last][:, None, None]
    return rms_norm(_forward(network.blocks[-1], hidden, queries, mask, network.n_heads)[:, 0])


def _forward(
    block: dict[str, tuple[Floats, Floats]], hidden: Floats, query_tokens: Floats, mask: Floats, n_heads: int
) -> Floats:
    """One block: hidden (n, width, size), the query tokens (n, m, size) -> their new hidden states (n, m, size).

    mask: (m, width), or (n, 1, m, width): -inf where a query must not attend to a token.
    """
    n, _, size = hidden.shape
    weights, biases = block["qkv"]
    keys_values = rms_norm(hidden) @ weights[:, size:] + biases[size:]
    queries = rms_norm(query_tokens) @ weights[:, :size] + biases[:size]

    def split(vectors: Floats) -> Floats:
        return vectors.reshape(n, -1, n_heads, size // n_heads).transpose(0, 2, 1, 3)

    attention = split(queries) @ split(keys_values[..., :size]).transpose(0, 1, 3, 2)
    attention *= np.float32((n_heads / size) ** 0.5)
    attention += mask
    attention -= attention.max(axis=-1, keepdims=True)
    np.exp(attention, out=attention)
    attention /= attention.sum(axis=-1, keepdims=True)
    values = split(keys_values[..., size:])
    attended: Floats = np.matmul(attention, values).transpose(0, 2, 1, 3).reshape(n, -1, size)
    residual: Floats = query_tokens + _linear(block, "out", attended)
    inner = _linear(block, "up", rms_norm(residual))
    np.maximum(inner, 0.0, out=inner)
    output: Floats = residual + _linear(block, "down", inner)
    return output


def _linear(block: dict[str, tuple[Floats, Floats]], name: str, inputs: Floats) -> Floats:
    weights, biases = block[name]
    outputs: Floats = inputs @ weights
    outputs += biases
    return outputs


def rms_norm(vectors: Floats) -> Floats:
    """Each vector scaled to a mean square of one (Zhang & Sennrich 2019)."""
    squares = np.einsum("...i,...i->...", vectors, vectors) / np.float32(vectors.shape[-1])
    scaled: Floats = vectors / np.sqrt(squares + EPSILON)[..., None]
    return scaled
