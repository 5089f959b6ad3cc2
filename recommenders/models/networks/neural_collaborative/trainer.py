"""One training epoch of NeuMF: the network, its optimisers, and the loss of a step. Imported only for fitting."""

import numpy as np
import torch
from torch import nn

from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import user_embedding_rows
from recommenders.models.networks.neural_collaborative.loss import Pairs, cross_entropy, pair_loss
from recommenders.models.networks.neural_collaborative.network import (
    EPSILON,
    MASKED,
    GatheredRows,
    NeuMF,
    RowAdam,
    project_features,
)
from recommenders.models.networks.neural_collaborative.sampling import Batch, Sampler


class Trainer:
    """A network, its optimisers and its sampler. epoch() is one pass over the events of the log; seeded by `rng`.

    On a GPU, products are computed in bfloat16. There is no torch.compile: lengths differ from batch to batch, and
    on shapes like these, recompiling costs the time that it saves.
    """

    def __init__(
        self,
        log: Interactions,
        config: NeuralCollaborativeConfig,
        rng: np.random.Generator,
        features: ItemFeatures | None = None,
    ) -> None:
        self.config = config
        projected = project_features(features, rng) if config.side_features and features is not None else None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sampler = Sampler(log, config, rng, self.device)
        rows = user_embedding_rows(np.bincount(log.user_rows, minlength=len(log.users)), config)
        self.user_embedding_rows = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        self.network = NeuMF(int(rows.max(initial=-1)) + 1, len(log.items), config, projected).to(self.device)
        self.user_embeddings = RowAdam(self.network.user_embeddings, config.learning_rate, config.weight_decay)
        self.item_embeddings = RowAdam(self.network.item_embeddings, config.learning_rate, config.weight_decay)
        self.layers = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def epoch(self, factors_only: bool = False) -> float:
        """One pass over the events; returns the mean loss of an event."""
        self.network.train()
        losses = [self.step(batch, factors_only) for batch in self.sampler.epoch()]
        return float(torch.stack(losses).sum()) / max(len(self.sampler.users), 1)

    def step(self, batch: Batch, factors_only: bool = False) -> torch.Tensor:
        """One training step; with factors_only, without the layers. Returns the sum of the losses of the batch."""
        users = self.user_embeddings.gather(self.user_embedding_rows[batch.users].clamp(min=0))
        items = self.item_embeddings.gather(torch.cat([batch.slots.flatten(), batch.pool]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self._loss(batch, users, items, factors_only)
        self.layers.zero_grad(set_to_none=True)
        (loss / batch.target_positions.numel()).backward()  # type: ignore[no-untyped-call]
        self.layers.step()
        self.user_embeddings.step(users)
        self.item_embeddings.step(items)
        return loss.detach()

    def _loss(self, batch: Batch, users: GatheredRows, items: GatheredRows, factors_only: bool) -> torch.Tensor:
        """The sum of the cross entropies of each target among hard negatives, which the network itself chooses.

        The factors, which are cheap for the whole pool, choose the negatives by their own softmax, and only these few
        go through the layers. Importance weights correct for both choices, so the loss estimates the softmax over all
        items that the user does not know. Bengio & Senécal 2008.
        """
        network, width = self.network, self.network.size + 1
        slots, pool = (
            items.positions[: batch.slots.numel()].view_as(batch.slots),
            items.positions[batch.slots.numel() :],
        )
        embeddings = network.add_features(items.embeddings, items.ids)
        factors, first = network.encode_users(self._user_embeddings(batch, users), embeddings, slots, batch.ends)
        targets, weights = slots.gather(1, batch.target_positions).view(-1, 1), batch.weights.flatten()
        item_factors, hidden = network.item_terms(embeddings)
        if factors_only:
            positive = (factors * item_factors[targets[:, 0], : width - 1]).sum(dim=1) + item_factors[targets[:, 0], -1]
            scores = self._pool_scores(factors, item_factors[pool], batch)
            known = batch.known[:, None].expand(-1, batch.target_positions.shape[1], -1).flatten(0, 1)
            return (cross_entropy(positive[:, None].float(), scores.float().masked_fill(known, MASKED)) * weights).sum()
        chosen, shift = self._choose_negatives(factors.detach(), item_factors.detach()[pool], batch)
        columns = torch.cat([targets, pool[chosen]], dim=1)
        if self.device.type != "cpu":
            logits = network.logits(factors, first, item_factors, hidden, columns).float()
            return (cross_entropy(logits[:, :1], logits[:, 1:] + shift) * weights).sum()
        pairs = Pairs(columns, nn.functional.pad(shift, (1, 0)), weights, network.dropout)
        factors = nn.functional.pad(factors, (0, 1), value=1.0)  # multiplies the item bias
        return pair_loss(pairs, factors, first, item_factors, hidden, *network.layers.parameters())

    def _pool_scores(self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(n m, n_pool) of factors (n m, size) and pool (n_pool, size + 1), corrected for the sampling of the pool."""
        return torch.addmm(pool[:, -1] - batch.log_probabilities, factors, pool[:, :-1].T)

    def _user_embeddings(self, batch: Batch, users: GatheredRows) -> torch.Tensor:
        """(n, 2 size), 0 for users without an embedding.

        Dropout also sets others to 0, at random, so that the network learns to score new users.
        """
        kept = torch.rand(len(batch.users), device=self.device) >= self.network.user_embedding_dropout
        kept &= self.user_embedding_rows[batch.users] >= 0
        return users.embeddings[users.positions] * kept[:, None]

    @torch.no_grad()
    def _choose_negatives(
        self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in the pool, and the correction of their logits for both choices, each (n, n_negatives).

        The correction is minus the log of the expected number of draws; MASKED if a user knows the whole pool.
        factors: (n, size). pool: (n_pool, size + 1) factors and bias.
        """
        scores = self._pool_scores(factors, pool, batch).float()
        scores = scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
        # masked after the exponential: an exponential of masked scores takes four times as long
        scores.view(len(batch.users), -1, len(pool)).mul_((~batch.known).float()[:, None])
        sums = torch.cumsum(scores, dim=1)
        total = sums[:, -1:].clamp(min=torch.finfo(sums.dtype).tiny)
        drawn = torch.rand(len(sums), self.network.n_negatives, device=self.device) * total
        chosen = torch.searchsorted(sums, drawn).clamp_(max=scores.shape[1] - 1)
        known = batch.known.gather(1, chosen.view(len(batch.users), -1)).view_as(chosen)
        shift = -torch.log((scores.gather(1, chosen) / total).clamp_(min=EPSILON) * self.network.n_negatives)
        return chosen, (shift - batch.log_probabilities[chosen]).masked_fill_(known, MASKED)
