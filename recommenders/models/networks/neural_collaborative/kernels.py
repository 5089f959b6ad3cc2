"""The inner loops of NeuMF's training on a CPU, compiled. Imported only for fitting.

Each loop passes over the memory once; a chain of tensor operations would write and read each intermediate result.
Arrays are float32, indices int64. Arrays named a gradient or passed as `out` are written to.
"""

import numpy as np
from numba import njit

ZERO, ONE = np.float32(0.0), np.float32(1.0)


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def history_means(embeddings, slots, ends, decays, out):  # type: ignore[no-untyped-def]
    """Weighted means of the embeddings (n_items, 2 size + 1) in the slots (n, length) before each of ends (n, m).

    decays: (n_half_lives,), the weight of an event relative to the next one. out: (2, n, m, n_half_lives size).
    """
    length, n_half_lives, size = slots.shape[1], decays.shape[0], embeddings.shape[1] // 2
    sums = np.zeros((length + 1, n_half_lives, 2 * size), np.float32)  # of the events before each position
    totals = _total_weights(decays, length)
    for row in range(len(slots)):
        last = ends[row].max()
        for position in range(last):
            embedding = embeddings[slots[row, position]]
            for h in range(n_half_lives):
                before, after, decay = sums[position, h], sums[position + 1, h], decays[h]
                for f in range(2 * size):
                    after[f] = before[f] * decay + embedding[f]
        for target in range(ends.shape[1]):
            end = ends[row, target]
            for h in range(n_half_lives):
                summed, scale = sums[end, h], ONE / totals[h, end]
                factors = out[0, row, target, h * size : (h + 1) * size]
                inputs = out[1, row, target, h * size : (h + 1) * size]
                for f in range(size):
                    factors[f] = summed[f] * scale
                    inputs[f] = summed[size + f] * scale


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def history_means_backward(factors, inputs, slots, ends, decays, gradient):  # type: ignore[no-untyped-def]
    """Backward pass of history_means: adds the gradients of both halves to the gradient of the embeddings.

    factors, inputs: (n, m, n_half_lives size) each.
    """
    length, n_half_lives, size = slots.shape[1], decays.shape[0], gradient.shape[1] // 2
    sums = np.empty((length + 1, n_half_lives, 2 * size), np.float32)
    total = np.empty((n_half_lives, 2 * size), np.float32)
    totals = _total_weights(decays, length)
    for row in range(len(slots)):
        last = ends[row].max()
        sums[: last + 1] = ZERO
        for target in range(ends.shape[1]):
            end = ends[row, target]
            for h in range(n_half_lives):
                summed, scale = sums[end, h], ONE / totals[h, end]
                factor_gradient = factors[row, target, h * size : (h + 1) * size]
                input_gradient = inputs[row, target, h * size : (h + 1) * size]
                for f in range(size):
                    summed[f] += factor_gradient[f] * scale
                    summed[size + f] += input_gradient[f] * scale
        total[:] = ZERO
        for position in range(last - 1, -1, -1):
            embedding_gradient = gradient[slots[row, position]]
            for h in range(n_half_lives):
                summed, decay, so_far = sums[position + 1, h], decays[h], total[h]
                for f in range(2 * size):
                    so_far[f] = so_far[f] * decay + summed[f]
                    embedding_gradient[f] += so_far[f]


@njit(nogil=True, cache=True)
def _total_weights(decays, length):  # type: ignore[no-untyped-def]
    """(n_half_lives, length + 1) the summed weight of each number of events; 1 for no events, whose sum is 0."""
    totals = np.ones((len(decays), length + 1), np.float32)
    for h in range(len(decays)):
        for position in range(1, length):
            totals[h, position + 1] = totals[h, position] * decays[h] + ONE
    return totals


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def score_pairs(columns, factors, first, items, hidden, mask, logits, out):  # type: ignore[no-untyped-def]
    """Adds the products of user factors (n, size) and item factors to logits (n, m); out (n m, w): the hidden layer.

    columns: (n, m) rows of items (n_items, size) and hidden (n_items, w), the item part of the first layer. first,
    mask: (n, w), the user part of the first layer and its dropout mask. out is after the rectifier and the dropout.
    """
    for row in range(columns.shape[0]):
        user_factors, user_hidden, user_mask = factors[row], first[row], mask[row]
        for position in range(columns.shape[1]):
            item_factors = items[columns[row, position]]
            total = ZERO
            for f in range(user_factors.shape[0]):
                total += user_factors[f] * item_factors[f]
            logits[row, position] += total
            item_hidden, pair_out = hidden[columns[row, position]], out[row * columns.shape[1] + position]
            for f in range(user_hidden.shape[0]):
                pair_out[f] = max(item_hidden[f] + user_hidden[f], ZERO) * user_mask[f]


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def score_pairs_backward(  # type: ignore[no-untyped-def]
    columns,
    logit_gradient,
    input_gradient,
    factors,
    items,
    factors_gradient,
    first_gradient,
    items_gradient,
    hidden_gradient,
):
    """Backward pass of score_pairs: from the gradients of the logits (n, m) and of the layer's input (n m, w).

    Adds to the gradients of factors, first, items and hidden.
    """
    for row in range(columns.shape[0]):
        user_factors, to_user, to_first = factors[row], factors_gradient[row], first_gradient[row]
        for position in range(columns.shape[1]):
            column, slope = columns[row, position], logit_gradient[row, position]
            item_factors, to_item = items[column], items_gradient[column]
            for f in range(user_factors.shape[0]):
                to_item[f] += slope * user_factors[f]
                to_user[f] += slope * item_factors[f]
            slopes, to_hidden = input_gradient[row * columns.shape[1] + position], hidden_gradient[column]
            for f in range(to_first.shape[0]):
                to_hidden[f] += slopes[f]
                to_first[f] += slopes[f]
