"""One epoch of NeuMF: its network, its optimisers, the loss of a step. Imported while fitting, never to answer."""

import numpy as np
import torch
from torch import nn

from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import own_rows
from recommenders.models.networks.neural_collaborative.loss import Pairs, cross_entropy, pair_loss
from recommenders.models.networks.neural_collaborative.network import MASKED, TINY, NeuMF, RowAdam, Taken, sides_of
from recommenders.models.networks.neural_collaborative.sampling import Batch, Sampler


class Trainer:
    """A network, its optimisers and its sampler. epoch() is one pass over the events of the log; seeded by `rng`.

    On a GPU the products are taken in bfloat16. torch.compile is left out: lengths differ from batch to batch, and
    what it saves on shapes like these it spends on compiling anew.
    """

    def __init__(
        self,
        log: Interactions,
        config: NeuralCollaborativeConfig,
        rng: np.random.Generator,
        features: ItemFeatures | None = None,
    ) -> None:
        self.config = config
        sides = sides_of(features, rng) if config.side_features and features is not None else None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sampler = Sampler(log, config, rng, self.device)
        own = own_rows(np.bincount(log.user_rows, minlength=len(log.users)), config)
        self.own_rows = torch.from_numpy(own.astype(np.int64)).to(self.device)
        self.network = NeuMF(int(own.max(initial=-1)) + 1, len(log.items), config, sides).to(self.device)
        self.own = RowAdam(self.network.own, config.learning_rate, config.weight_decay)
        self.items = RowAdam(self.network.items, config.learning_rate, config.weight_decay)
        self.layers = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def epoch(self, factors_only: bool = False) -> float:
        """One pass over the events; returns the mean loss of an event."""
        self.network.train()
        losses = [self.step(batch, factors_only) for batch in self.sampler.epoch()]
        return float(torch.stack(losses).sum()) / max(len(self.sampler.users), 1)

    def step(self, batch: Batch, factors_only: bool = False) -> torch.Tensor:
        """Learns from one batch, or pre-trains what needs no layers; returns the sum of its losses."""
        own = self.own.take(self.own_rows[batch.users].clamp(min=0))
        items = self.items.take(torch.cat([batch.slots.flatten(), batch.pool]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self._loss(batch, own, items, factors_only)
        self.layers.zero_grad(set_to_none=True)
        (loss / batch.told.numel()).backward()  # type: ignore[no-untyped-call]
        self.layers.step()
        self.own.step(own)
        self.items.step(items)
        return loss.detach()

    def _loss(self, batch: Batch, own: Taken, items: Taken, factors_only: bool) -> torch.Tensor:
        """The sum of the cross entropies of each target among negatives the network itself finds hard.

        The factors, cheap for the whole pool, choose the negatives by their own softmax, and only those few go through
        the layers. Both choices are undone by importance weights, so what is estimated is the softmax over all items
        the buyer does not know. Bengio & Senécal 2008.
        """
        network, width = self.network, self.network.size + 1
        slots, pool = items.places[: batch.slots.numel()].view_as(batch.slots), items.places[batch.slots.numel() :]
        vectors = network.with_sides(items.vectors, items.ids)
        factors, first = network.users(self._own_vectors(batch, own), vectors, slots, batch.ends)
        told, weights = slots.gather(1, batch.told).view(-1, 1), batch.weights.flatten()
        scored, hidden = network.scored(vectors)
        if factors_only:
            positive = (factors * scored[told[:, 0], : width - 1]).sum(dim=1) + scored[told[:, 0], -1]
            scores = self._pool_scores(factors, scored[pool], batch)
            known = batch.known[:, None].expand(-1, batch.told.shape[1], -1).flatten(0, 1)
            return (cross_entropy(positive[:, None].float(), scores.float().masked_fill(known, MASKED)) * weights).sum()
        chosen, shift = self._choose(factors.detach(), scored.detach()[pool], batch)
        columns = torch.cat([told, pool[chosen]], dim=1)
        if self.device.type != "cpu":
            logits = network.logits(factors, first, scored, hidden, columns).float()
            return (cross_entropy(logits[:, :1], logits[:, 1:] + shift) * weights).sum()
        pairs = Pairs(columns, nn.functional.pad(shift, (1, 0)), weights, network.dropout)
        factors = nn.functional.pad(factors, (0, 1), value=1.0)  # what meets the bias
        return pair_loss(pairs, factors, first, scored, hidden, *network.layers.parameters())

    def _pool_scores(self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(n m, n_pool) of factors (n m, size) and pool (n_pool, size + 1), what chance did for the pool undone."""
        return torch.addmm(pool[:, -1] - batch.chances, factors, pool[:, :-1].T)

    def _own_vectors(self, batch: Batch, own: Taken) -> torch.Tensor:
        """(n, 2 size), 0 for who has none; now and then for others too, so that strangers are learned as well."""
        left = torch.rand(len(batch.users), device=self.device) >= self.network.own_dropout
        left &= self.own_rows[batch.users] >= 0
        return own.vectors[own.places] * left[:, None]

    @torch.no_grad()
    def _choose(self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Places in the pool, and what to add to their logits to undo both choices, each (n, n_negatives).

        That is minus the log of how often each is expected to be drawn; where a buyer knows the whole pool, MASKED.
        factors: (n, size). pool: (n_pool, size + 1) factors and bias.
        """
        scores = self._pool_scores(factors, pool, batch).float()
        scores = scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
        # only now: an exponential of what is masked takes four times as long
        scores.view(len(batch.users), -1, len(pool)).mul_((~batch.known).float()[:, None])
        sums = torch.cumsum(scores, dim=1)
        total = sums[:, -1:].clamp(min=torch.finfo(sums.dtype).tiny)
        drawn = torch.rand(len(sums), self.network.n_negatives, device=self.device) * total
        chosen = torch.searchsorted(sums, drawn).clamp_(max=scores.shape[1] - 1)
        known = batch.known.gather(1, chosen.view(len(batch.users), -1)).view_as(chosen)
        surprise = -torch.log((scores.gather(1, chosen) / total).clamp_(min=TINY) * self.network.n_negatives)
        return chosen, (surprise - batch.chances[chosen]).masked_fill_(known, MASKED)
