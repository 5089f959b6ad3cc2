"""The inner loop of alternating least squares, compiled. Imported only for fitting."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

ZERO = np.float32(0.0)
EPSILON = np.float32(1e-12)  # squared residual, as the preconditioner measures it, below which a row counts as solved


@njit(nogil=True, fastmath=True, cache=True)
def _add_residuals(others, columns, values, start, stop, row, target, total):  # type: ignore[no-untyped-def]
    """total += sum over entries of value * (target - other . row) * other; four at a time, to load `row` less often."""
    size = row.shape[0]
    position = start
    while position + 4 <= stop:
        a, b = others[columns[position]], others[columns[position + 1]]
        c, d = others[columns[position + 2]], others[columns[position + 3]]
        of_a, of_b, of_c, of_d = ZERO, ZERO, ZERO, ZERO
        for f in range(size):
            of_a += a[f] * row[f]
            of_b += b[f] * row[f]
            of_c += c[f] * row[f]
            of_d += d[f] * row[f]
        of_a = values[position] * (target - of_a)
        of_b = values[position + 1] * (target - of_b)
        of_c = values[position + 2] * (target - of_c)
        of_d = values[position + 3] * (target - of_d)
        for f in range(size):
            total[f] += of_a * a[f] + of_b * b[f] + of_c * c[f] + of_d * d[f]
        position += 4
    while position < stop:
        a = others[columns[position]]
        of_a = ZERO
        for f in range(size):
            of_a += a[f] * row[f]
        of_a = values[position] * (target - of_a)
        for f in range(size):
            total[f] += of_a * a[f]
        position += 1


@njit(nogil=True, fastmath=True, cache=True)
def _solve_rows(first, last, indptr, columns, values, others, rows, common, regs, steps):  # type: ignore[no-untyped-def]
    """Conjugate gradients for rows first..last; see solve_rows()."""
    size = others.shape[1]
    diagonal, residual = np.empty(size, np.float32), np.empty(size, np.float32)
    direction, change = np.empty(size, np.float32), np.empty(size, np.float32)
    for number in range(first, last):
        start, stop, row = indptr[number], indptr[number + 1], rows[number]
        for f in range(size):
            diagonal[f] = common[f] + regs[number]
            residual[f] = -diagonal[f] * row[f]
        _add_residuals(others, columns, values, start, stop, row, np.float32(1.0), residual)
        length = ZERO
        for f in range(size):
            direction[f] = residual[f] / diagonal[f]
            length += residual[f] * direction[f]
        for _ in range(steps):
            if length < EPSILON:
                break
            for f in range(size):
                change[f] = -diagonal[f] * direction[f]
            _add_residuals(others, columns, values, start, stop, direction, ZERO, change)
            curvature = ZERO
            for f in range(size):
                curvature -= direction[f] * change[f]
            step, new_length = length / curvature, ZERO
            for f in range(size):
                row[f] += step * direction[f]
                residual[f] += step * change[f]
                new_length += residual[f] * residual[f] / diagonal[f]
            for f in range(size):
                direction[f] = residual[f] / diagonal[f] + new_length / length * direction[f]
            length = new_length


def solve_rows(
    bounds: tuple[int, int],
    entries: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
    others: NDArray[np.float32],
    rows: NDArray[np.float32],
    common: NDArray[np.float32],
    regs: NDArray[np.float32],
    steps: int,
) -> None:
    """Improves rows[bounds[0]:bounds[1]], in place, towards the least squares solution for the other side's factors.

    entries: indptr, columns, values of the CSR matrix; others: (n_columns, d); rows: (n_rows, d); common: (d,) the
    diagonal of the weighted Gramian of `others`, which must be diagonal; regs: (n_rows,). Since the Gramian and the
    regularisation are diagonal, they are the preconditioner and cost d per step, not d squared.
    """
    _solve_rows(bounds[0], bounds[1], *entries, others, rows, common, regs, steps)
