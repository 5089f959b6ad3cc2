"""The inner loops of NeuMF's training on a CPU, compiled. Imported only while fitting.

Each goes through the memory once where a chain of tensor operations would write and read every step between. Arrays are
float32, indices int64; whatever is named a gradient or passed as `out` is written to.
"""

import numpy as np
from numba import njit

NOUGHT, ONE = np.float32(0.0), np.float32(1.0)


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def read_means(vectors, slots, ends, decays, out):  # type: ignore[no-untyped-def]
    """Weighted means of the vectors (n_items, 2 size + 1) in the slots (n, length) before each of ends (n, m).

    decays: (n_means,) what an event counts beside the next one. out: (2, n, m, n_means size).
    """
    length, n_means, size = slots.shape[1], decays.shape[0], vectors.shape[1] // 2
    sums = np.zeros((length + 1, n_means, 2 * size), np.float32)  # of the events before each place
    counts = _counts(decays, length)
    for row in range(len(slots)):
        last = ends[row].max()
        for place in range(last):
            vector = vectors[slots[row, place]]
            for mean in range(n_means):
                before, after, decay = sums[place, mean], sums[place + 1, mean], decays[mean]
                for f in range(2 * size):
                    after[f] = before[f] * decay + vector[f]
        for target in range(ends.shape[1]):
            end = ends[row, target]
            for mean in range(n_means):
                summed, share = sums[end, mean], ONE / counts[mean, end]
                factors = out[0, row, target, mean * size : (mean + 1) * size]
                inputs = out[1, row, target, mean * size : (mean + 1) * size]
                for f in range(size):
                    factors[f] = summed[f] * share
                    inputs[f] = summed[size + f] * share


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def read_means_back(factors, inputs, slots, ends, decays, gradient):  # type: ignore[no-untyped-def]
    """The way back of read_means: its halves' gradients, each (n, m, n_means size), added to that of the vectors."""
    length, n_means, size = slots.shape[1], decays.shape[0], gradient.shape[1] // 2
    sums = np.empty((length + 1, n_means, 2 * size), np.float32)
    total = np.empty((n_means, 2 * size), np.float32)
    counts = _counts(decays, length)
    for row in range(len(slots)):
        last = ends[row].max()
        sums[: last + 1] = NOUGHT
        for target in range(ends.shape[1]):
            end = ends[row, target]
            for mean in range(n_means):
                summed, share = sums[end, mean], ONE / counts[mean, end]
                of_factors = factors[row, target, mean * size : (mean + 1) * size]
                of_inputs = inputs[row, target, mean * size : (mean + 1) * size]
                for f in range(size):
                    summed[f] += of_factors[f] * share
                    summed[size + f] += of_inputs[f] * share
        total[:] = NOUGHT
        for place in range(last - 1, -1, -1):
            vector = gradient[slots[row, place]]
            for mean in range(n_means):
                summed, decay, so_far = sums[place + 1, mean], decays[mean], total[mean]
                for f in range(2 * size):
                    so_far[f] = so_far[f] * decay + summed[f]
                    vector[f] += so_far[f]


@njit(nogil=True, cache=True)
def _counts(decays, length):  # type: ignore[no-untyped-def]
    """(n_means, length + 1) what so many events count together; 1 for none, whose sum is 0."""
    counts = np.ones((len(decays), length + 1), np.float32)
    for mean in range(len(decays)):
        for place in range(1, length):
            counts[mean, place + 1] = counts[mean, place] * decays[mean] + ONE
    return counts


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def meet(columns, factors, first, items, hidden, left, logits, inside):  # type: ignore[no-untyped-def]
    """Adds the products of buyers' factors (n, size) and items to logits (n, m); inside (n m, w): the rectified layer.

    columns: (n, m) rows of items (n_items, size) and hidden (n_items, w). first, left: (n, w), the buyer's part of the
    layer and what dropout leaves of it.
    """
    for row in range(columns.shape[0]):
        mine, part, kept = factors[row], first[row], left[row]
        for place in range(columns.shape[1]):
            item = items[columns[row, place]]
            total = NOUGHT
            for f in range(mine.shape[0]):
                total += mine[f] * item[f]
            logits[row, place] += total
            of_item, out = hidden[columns[row, place]], inside[row * columns.shape[1] + place]
            for f in range(part.shape[0]):
                out[f] = max(of_item[f] + part[f], NOUGHT) * kept[f]


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def meet_back(columns, ahead, back, factors, items, of_factors, of_first, of_items, of_hidden):  # type: ignore[no-untyped-def]
    """The way back of meet: from the gradients of the logits (n, m) and of the layer's input (n m, w) to all four."""
    for row in range(columns.shape[0]):
        mine, to_mine, to_part = factors[row], of_factors[row], of_first[row]
        for place in range(columns.shape[1]):
            column, slope = columns[row, place], ahead[row, place]
            item, to_item = items[column], of_items[column]
            for f in range(mine.shape[0]):
                to_item[f] += slope * mine[f]
                to_mine[f] += slope * item[f]
            slopes, to_hidden = back[row * columns.shape[1] + place], of_hidden[column]
            for f in range(to_part.shape[0]):
                to_hidden[f] += slopes[f]
                to_part[f] += slopes[f]


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def move_rows(table, mean, square, rows, gradient, how):  # type: ignore[no-untyped-def]
    """One step of AdamW for some rows of a table (n, width) and of its moments. rows: (m,), gradient: (m, width).

    how: both moments' decays, the number of the step from 1, learning rate, weight decay, what keeps divisions finite.
    Loshchilov & Hutter 2019.
    """
    moments, step, rate, decay, tiny = how
    second, new, newest = np.float32(moments[1]), np.float32(1.0 - moments[0]), np.float32(1.0 - moments[1])
    size = np.float32(rate / (1.0 - moments[0] ** step))
    root = np.float32(1.0 / np.sqrt(1.0 - moments[1] ** step))
    left, least = np.float32(1.0 - rate * decay), np.float32(tiny)
    for place in range(len(rows)):
        vector, slope = table[rows[place]], gradient[place]
        mean_of, square_of = mean[rows[place]], square[rows[place]]
        for f in range(vector.shape[0]):
            mean_of[f] += new * (slope[f] - mean_of[f])
            square_of[f] = second * square_of[f] + newest * slope[f] * slope[f]
            vector[f] = vector[f] * left - size * mean_of[f] / (np.sqrt(square_of[f]) * root + least)
