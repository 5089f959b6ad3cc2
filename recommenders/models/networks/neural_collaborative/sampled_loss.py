"""The loss of a training step of NeuMF: each target among hard negatives. Imported only for fitting."""

import torch
from torch import nn

from recommenders.models.networks.neural_collaborative.loss import Pairs, cross_entropy, pair_loss
from recommenders.models.networks.neural_collaborative.network import EPSILON, MASKED, NeuMF
from recommenders.models.networks.neural_collaborative.sampling import Batch
from recommenders.models.networks.sparse_adamw import gather_rows


class SampledLoss(nn.Module):
    """NeuMF with its training loss. user_embedding_rows: (n_users,), -1 for users without an embedding.

    On a GPU, products are computed in bfloat16. There is no torch.compile: lengths differ from batch to batch, and
    on shapes like these, recompiling costs the time that it saves.
    """

    def __init__(self, network: NeuMF, user_embedding_rows: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.user_embedding_rows: torch.Tensor
        self.register_buffer("user_embedding_rows", user_embedding_rows)

    def forward(self, batch: Batch, factors_only: bool = False) -> tuple[torch.Tensor, int]:
        """The sum of the losses of a batch, and its number of targets; with factors_only, without the layers."""
        device = self.user_embedding_rows.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return self._loss(batch, factors_only), batch.target_positions.numel()

    def _loss(self, batch: Batch, factors_only: bool) -> torch.Tensor:
        """The sum of the cross entropies of each target among hard negatives, which the network itself chooses.

        The factors, which are cheap for the whole pool, choose the negatives by their own softmax, and only these few
        go through the layers. Importance weights correct for both choices, so the loss estimates the softmax over all
        items that the user does not know. Bengio & Senécal 2008.
        """
        network, width = self.network, self.network.size + 1
        item_columns, positions = torch.unique(torch.cat([batch.slots.flatten(), batch.pool]), return_inverse=True)
        slots, pool = positions[: batch.slots.numel()].view_as(batch.slots), positions[batch.slots.numel() :]
        user_embeddings, items = self._user_embeddings(batch), gather_rows(network.item_embeddings.weight, item_columns)
        embeddings = network.add_features(items, item_columns)
        factors, first = network.encode_users(user_embeddings, embeddings, slots, batch.ends)
        targets, weights = slots.gather(1, batch.target_positions).view(-1, 1), batch.weights.flatten()
        item_factors, hidden = network.item_terms(embeddings)
        if factors_only:
            positive = (factors * item_factors[targets[:, 0], : width - 1]).sum(dim=1) + item_factors[targets[:, 0], -1]
            scores = self._pool_scores(factors, item_factors[pool], batch)
            known = batch.known[:, None].expand(-1, batch.target_positions.shape[1], -1).flatten(0, 1)
            return (cross_entropy(positive[:, None].float(), scores.float().masked_fill(known, MASKED)) * weights).sum()
        chosen, shift = self._choose_negatives(factors.detach(), item_factors.detach()[pool], batch)
        columns = torch.cat([targets, pool[chosen]], dim=1)
        if factors.device.type != "cpu":
            logits = network.logits(factors, first, item_factors, hidden, columns).float()
            return (cross_entropy(logits[:, :1], logits[:, 1:] + shift) * weights).sum()
        pairs = Pairs(columns, nn.functional.pad(shift, (1, 0)), weights, network.dropout)
        factors = nn.functional.pad(factors, (0, 1), value=1.0)  # multiplies the item bias
        return pair_loss(pairs, factors, first, item_factors, hidden, *network.layers.parameters())

    def _pool_scores(self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(n m, n_pool) of factors (n m, size) and pool (n_pool, size + 1), corrected for the sampling of the pool."""
        return torch.addmm(pool[:, -1] - batch.log_probabilities, factors, pool[:, :-1].T)

    def _user_embeddings(self, batch: Batch) -> torch.Tensor:
        """(n, 2 size), 0 for users without an embedding.

        Dropout also sets others to 0, at random, so that the network learns to score new users.
        """
        rows = self.user_embedding_rows[batch.users]
        kept = torch.rand(len(rows), device=rows.device) >= self.network.user_embedding_dropout
        kept &= rows >= 0
        rows, positions = torch.unique(rows.clamp(min=0), return_inverse=True)
        return gather_rows(self.network.user_embeddings.weight, rows)[positions] * kept[:, None]

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
        drawn = torch.rand(len(sums), self.network.n_negatives, device=sums.device) * total
        chosen = torch.searchsorted(sums, drawn).clamp_(max=scores.shape[1] - 1)
        known = batch.known.gather(1, chosen.view(len(batch.users), -1)).view_as(chosen)
        shift = -torch.log((scores.gather(1, chosen) / total).clamp_(min=EPSILON) * self.network.n_negatives)
        return chosen, (shift - batch.log_probabilities[chosen]).masked_fill_(known, MASKED)
