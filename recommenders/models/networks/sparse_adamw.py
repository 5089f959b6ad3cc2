"""AdamW for embedding tables: a step costs as much as its batch, not as the table. Imported only for fitting."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numba import njit

MOMENTS = ("exp_avg", "exp_avg_sq")  # named as in torch.optim.AdamW
Tables = tuple[torch.Tensor, ...]  # the weights and both moments, (n_rows, width) each


def gather_rows(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The rows (n,), distinct and ascending, of a parameter (n_rows, width); its gradient is sparse."""
    gathered: torch.Tensor = _GatherRows.apply(table, rows)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor, None]:
        (rows,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(rows[None], outer[0], ctx.shape, check_invariants=False), None


class SparseAdamW(torch.optim.Optimizer):
    """AdamW that updates only the rows with a gradient, and only their moments.

    Loshchilov & Hutter 2019, with the moments of torch.optim.SparseAdam. A dense gradient updates all rows. On a CPU
    the update is one compiled loop; as a chain of tensor operations it takes several times as long.
    """

    def __init__(
        self,
        tables: Iterable[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(tables, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates the tables by their gradients; those without a gradient stay. closure: not used."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state |= {"step": torch.zeros(()), **{name: torch.zeros_like(table) for name in MOMENTS}}
                state["step"] += 1
                rows, gradient = _rows_and_gradient(table.grad)
                update = _update_rows_compiled if table.device.type == "cpu" else _update_rows
                update((table, *(state[name] for name in MOMENTS)), rows, gradient, int(state["step"]), group)


def _rows_and_gradient(gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct rows (n,) of a gradient (n_rows, width) and their parts (n, width)."""
    if not gradient.is_sparse:
        return torch.arange(len(gradient), device=gradient.device), gradient
    rows = gradient._indices()[0]  # accumulation loses the mark that rows are distinct, and coalesce() would sort again
    if bool((rows[1:] > rows[:-1]).all()):
        return rows, gradient._values()
    gradient = gradient.coalesce()
    return gradient.indices()[0], gradient.values()


def _update_rows_compiled(
    tables: Tables, rows: torch.Tensor, gradient: torch.Tensor, step: int, group: dict[str, Any]
) -> None:
    settings = (group["betas"], step, group["lr"], group["weight_decay"], group["eps"])
    weights, means, squares = (table.detach().numpy() for table in tables)
    adamw_update_rows(weights, means, squares, rows.numpy(), gradient.contiguous().numpy(), settings)


def _update_rows(tables: Tables, rows: torch.Tensor, gradient: torch.Tensor, step: int, group: dict[str, Any]) -> None:
    """The same in tensor operations, for any device."""
    table, mean, square = tables
    first, second = group["betas"]
    new_mean = mean.index_select(0, rows).lerp_(gradient, 1 - first)
    new_square = square.index_select(0, rows).mul_(second).addcmul_(gradient, gradient, value=1 - second)
    deviation = (new_square / (1 - second**step)).sqrt_().add_(group["eps"])
    weights = table.index_select(0, rows).mul_(1 - group["lr"] * group["weight_decay"])
    weights.addcdiv_(new_mean, deviation, value=-group["lr"] / (1 - first**step))
    for whole, part in ((table, weights), (mean, new_mean), (square, new_square)):
        whole.index_copy_(0, rows, part)


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def adamw_update_rows(table, mean, square, rows, gradient, settings):  # type: ignore[no-untyped-def]
    """One AdamW step of some rows of a table (n, width) and of its moments. rows: (m,), gradient: (m, width).

    settings: the decays of both moments, the number of the step from 1, learning rate, weight decay, and epsilon, which
    keeps divisions finite.
    """
    moments, step, learning_rate, decay, epsilon = settings
    second, new, newest = np.float32(moments[1]), np.float32(1.0 - moments[0]), np.float32(1.0 - moments[1])
    size = np.float32(learning_rate / (1.0 - moments[0] ** step))
    root = np.float32(1.0 / np.sqrt(1.0 - moments[1] ** step))
    kept, least = np.float32(1.0 - learning_rate * decay), np.float32(epsilon)
    for position in range(len(rows)):
        weights, slope = table[rows[position]], gradient[position]
        row_mean, row_square = mean[rows[position]], square[rows[position]]
        for f in range(weights.shape[0]):
            row_mean[f] += new * (slope[f] - row_mean[f])
            row_square[f] = second * row_square[f] + newest * slope[f] * slope[f]
            weights[f] = weights[f] * kept - size * row_mean[f] / (np.sqrt(row_square[f]) * root + least)
