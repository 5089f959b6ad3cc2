"""NeuMF in PyTorch, and the optimiser of its tables. Imported while fitting, never to answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import embedding
from torch.optim.adamw import adamw

from recommenders.features.items import ItemFeatures
from recommenders.models.networks.dropout import units_left
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.history_means import history_means
from recommenders.models.networks.neural_collaborative.inference import decays, shares
from recommenders.models.networks.neural_collaborative.kernels import move_rows

SIDES = 64  # numbers that stand for an item's features
SPREAD = 0.05  # of the vectors to start from
ROW_RATE = 6.0  # times the learning rate: a row of a table is touched in few of the steps
MASKED = -1e4  # a logit of no chance at all, in any float format
MOMENTS = (0.9, 0.999)
TINY = 1e-8  # keeps divisions and logarithms finite


class NeuMF(nn.Module):
    """He et al. 2017: a factorisation and layers side by side, summed into one logit, over a buyer made of two parts.

    A buyer is a vector of its own, where there is one, plus what the items of its history say: their means, recent
    ones counting more, at several half-lives. Koren 2008 (SVD++); Kabbur, Ning & Karypis 2013 (FISM). Both vectors have
    two halves of embedding_dim: the factors, then the input of the layers.
    """

    def __init__(
        self, n_own: int, n_items: int, config: NeuralCollaborativeConfig, sides: NDArray[np.float32] | None = None
    ) -> None:
        super().__init__()
        self.size, widths, n_means = config.embedding_dim, config.hidden_layers, len(config.half_lives)
        self.n_negatives, self.dropout, self.own_dropout = config.negatives, config.dropout, config.own_dropout
        self.own: torch.Tensor
        self.items: torch.Tensor
        self.shares: torch.Tensor
        self.register_buffer("own", torch.randn(max(n_own, 1), 2 * self.size) * SPREAD)
        self.register_buffer("items", torch.randn(n_items, 2 * self.size + 1) * SPREAD)  # and the item's bias
        self.items[:, -1] = 0.0
        self.register_buffer("shares", torch.from_numpy(oldest_first(shares(config))))
        self.decays: torch.Tensor
        self.register_buffer("decays", torch.from_numpy(decays(config)))
        self.sides: torch.Tensor | None
        self.register_buffer("sides", None if sides is None else torch.from_numpy(sides))
        self.of_sides = None if sides is None else nn.Linear(sides.shape[1], 2 * self.size + 1, bias=False)
        self.blend = nn.Parameter(torch.eye(self.size).repeat(n_means, 1))
        self.first_user = nn.Linear((1 + n_means) * self.size, widths[0])
        self.first_item = nn.Linear(self.size, widths[0], bias=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], 1], strict=True))

    def with_sides(self, items: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """items (n, 2 size + 1) of ids (n,) plus what their features say; features teach items few have bought."""
        if self.of_sides is None or self.sides is None:
            return items
        return torch.add(items, self.of_sides(self.sides[ids]))

    def users(
        self, own: torch.Tensor, vectors: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Buyers before each of ends (n, m), of own vectors (n, 2 size) and the items in their slots (n, length).

        vectors: (n_items, 2 size + 1), what the slots name. Returns factors (n m, size) and the first layer's part
        (n m, widths[0]).
        """
        factors, inputs = self.means(vectors, slots, ends)
        own_factors, own_inputs = torch.split(own[:, None], self.size, dim=2)
        of_own, of_means = torch.split(self.first_user.weight, [self.size, inputs.shape[2]], dim=1)
        first = nn.functional.linear(inputs, of_means, self.first_user.bias) + nn.functional.linear(own_inputs, of_own)
        return (factors @ self.blend + own_factors).flatten(0, 1), first.flatten(0, 1)

    def means(
        self, vectors: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both halves of what the slots before each of ends show, (n, m, n_means size); 0 where there is none."""
        if vectors.device.type == "cpu":
            return history_means(vectors, slots, ends, self.decays)
        return self.plain_means(vectors, slots, ends)

    def plain_means(
        self, vectors: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """means() in its readable form, the one for a GPU: a product of each target's shares and the events."""
        events, length = embedding(slots, vectors), slots.shape[1]
        shares = embedding(ends, self.shares[:, :, :length].flatten(1))
        shares = shares.view(len(ends), ends.shape[1] * self.shares.shape[1], length)  # (n, m n_means, length)
        halves = torch.split(events, [self.size, self.size, 1], dim=2)  # so that no step copies a mean
        return torch.bmm(shares, halves[0]).view(*ends.shape, -1), torch.bmm(shares, halves[1]).view(*ends.shape, -1)

    def scored(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """items (n, 2 size + 1) -> factors and bias (n, size + 1), and the first layer's part (n, widths[0])."""
        factors, inputs, bias = torch.split(items, [self.size, self.size, 1], dim=1)
        return torch.cat([factors, bias], dim=1), self.first_item(inputs)

    def logits(
        self,
        factors: torch.Tensor,
        first: torch.Tensor,
        items: torch.Tensor,
        hidden: torch.Tensor,
        columns: torch.Tensor,
    ) -> torch.Tensor:
        """factors (n, size) and first (n, widths[0]) of users(), both parts of scored(), columns (n, m) -> (n, m)."""
        met = embedding(columns, items)
        product = (met[..., :-1] * factors[:, None]).sum(dim=2) + met[..., -1]
        inside = embedding(columns, hidden) + first[:, None]
        for layer in self.layers:
            inside = layer(self._dropped(torch.relu_(inside)))
        logits: torch.Tensor = product + inside[..., 0]
        return logits

    def _dropped(self, hidden: torch.Tensor) -> torch.Tensor:
        """Dropout of the same units for all items of a buyer: they are compared with each other, and it is cheaper."""
        if not self.training or self.dropout == 0:
            return hidden
        return hidden * units_left(hidden[:, 0], self.dropout)[:, None]

    def forward(self, own: torch.Tensor, history: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """own (n, 2 size), history (n, length) item columns, oldest first, items (n, m) item columns -> (n, m)."""
        ends = torch.full((len(own), 1), history.shape[1], device=own.device)
        factors, first = self.users(own, self.items, history, ends)
        return self.logits(factors, first, *self.scored(self.items), items)

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What answering needs, copied."""
        linear = {"first_user": self.first_user, "first_item": self.first_item}
        linear |= {f"layer{i}": layer for i, layer in enumerate(self.layers)}  # type: ignore[misc]
        items = self.with_sides(self.items, torch.arange(len(self.items), device=self.items.device))
        found = {"own": self.own, "items": items, "blend": self.blend}
        for name, layer in linear.items():
            found[f"{name}.weights"] = layer.weight.T
            if layer.bias is not None:
                found[f"{name}.biases"] = layer.bias
        return {name: np.array(tensor.cpu().numpy(), order="C") for name, tensor in found.items()}


def oldest_first(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """(length + 1, n_means, length) with the newest of n events in place n - 1 instead of the last."""
    length = shares.shape[2]
    places = np.arange(length) - np.arange(length + 1)[:, None]  # negative ones count from the end
    return np.where(places[:, None] < 0, np.take_along_axis(shares, places[:, None] % length, axis=2), np.float32(0.0))


def sides_of(features: ItemFeatures, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n_items, SIDES) features by a random projection, which keeps likeness. Johnson & Lindenstrauss 1984."""
    projection = rng.normal(size=(features.vectors.shape[1], SIDES)) / np.sqrt(SIDES)
    return np.asarray(features.vectors @ projection.astype(np.float32), dtype=np.float32)


@dataclass
class Taken:
    """Rows of a table, copied out to learn: vectors (n, width) with their gradient; places say who is which of them."""

    ids: torch.Tensor  # (n,) ascending
    places: torch.Tensor  # of what was asked for, in its shape
    vectors: torch.Tensor


class RowAdam:
    """Adam that touches only the rows a step has looked at, so a step costs what the batch does, not the table.

    Kingma & Ba 2015; the moments of a row that is left alone stand still.
    """

    def __init__(self, table: torch.Tensor, learning_rate: float, weight_decay: float) -> None:
        self.table, self.rate, self.weight_decay = table, learning_rate * ROW_RATE, weight_decay
        self.mean, self.square = torch.zeros_like(table), torch.zeros_like(table)
        self.n_steps = torch.zeros((), device=table.device)

    def take(self, asked: torch.Tensor) -> Taken:
        """The rows asked for, each once."""
        ids, places = torch.unique(asked, return_inverse=True)
        return Taken(ids, places, self.table.index_select(0, ids).requires_grad_())

    @torch.no_grad()
    def step(self, taken: Taken) -> None:
        """Moves the taken rows against their gradients."""
        gradient = taken.vectors.grad
        assert gradient is not None
        if self.table.device.type == "cpu":
            self.n_steps += 1
            table, mean_of, square_of = (tensor.numpy() for tensor in (self.table, self.mean, self.square))
            how = (MOMENTS, int(self.n_steps), self.rate, self.weight_decay, TINY)
            move_rows(table, mean_of, square_of, taken.ids.numpy(), gradient.numpy(), how)
            return
        rows = taken.vectors.detach()
        mean, square = self.mean.index_select(0, taken.ids), self.square.index_select(0, taken.ids)
        adamw(
            [rows],
            [gradient],
            [mean],
            [square],
            [],
            [self.n_steps],  # counted on by the call
            fused=True,
            amsgrad=False,
            beta1=MOMENTS[0],
            beta2=MOMENTS[1],
            lr=self.rate,
            weight_decay=self.weight_decay,
            eps=TINY,
            maximize=False,
        )
        for whole, part in ((self.table, rows), (self.mean, mean), (self.square, square)):
            whole.index_copy_(0, taken.ids, part)
