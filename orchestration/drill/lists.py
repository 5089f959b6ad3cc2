"""The lists that a drill compares: as served, of a model that is never retrained, of an oracle's retraining, the best.

All are lists for the same visit, and the visits do not depend on them. So the differences have no noise of the market.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestration.drill.shop import K
from orchestration.settings import Settings
from recommenders.features.items import encode_items_as_of
from recommenders.simulation.market import Floats
from recommenders.simulation.market_days import Visit
from recommenders.splitting.temporal import training_log
from recommenders.training.fitting import fit_with_base_models
from serving.lists.predictor import Predictor

DISCOUNTS = 1 / np.log2(np.arange(2, K + 2))
MAX_RECENT = 200  # events of a user since the training, as in the service


@dataclass(frozen=True)
class Values:
    """What a list is worth.

    ndcg: expected DCG@10 by the true purchase probabilities, as a share of that of the oracle's list. expected, bought:
    expected and true number of purchases from the list. revenue: of these purchases.
    """

    ndcg: float
    expected: float
    bought: int
    revenue: float


def value_of(items: NDArray[np.int64], probabilities: Floats, visit: Visit) -> Values:
    """The values of a list for one visit. items: rows of the products, best first. probabilities: (n_products,)."""
    chances = probabilities[items[:K]]
    best = np.sort(probabilities)[::-1][:K]
    from_list = np.isin(visit.lines["product"], items[:K])
    revenue = (visit.lines["quantity"] * visit.lines["unit_price"])[from_list]
    dcg, ideal = chances @ DISCOUNTS[: len(chances)], best @ DISCOUNTS
    return Values(float(dcg / ideal), float(chances.sum()), int(from_list.sum()), float(revenue.sum()))


def best_list(probabilities: Floats) -> NDArray[np.int64]:
    """The oracle's list: the K products that the visit most likely buys, (K,)."""
    return np.argsort(-probabilities, kind="stable")[:K]


class ModelLists:
    """Lists of one model that stays the same, as the service makes them: it knows what each user bought since."""

    def __init__(self, bundle: Path) -> None:
        self.predictor = Predictor(bundle)
        self._recent: defaultdict[int, list[str]] = defaultdict(list)

    def list_for(self, visit: Visit, now: int) -> NDArray[np.int64]:
        """Rows of the products, best first. now: microseconds since 1970, UTC."""
        moment = self.predictor.lists.moment(now)
        found = self.predictor.predict(str(visit.user + 1), self._recent[visit.user][-MAX_RECENT:], K, moment)
        return as_rows(found.item_ids)

    def add(self, visit: Visit) -> None:
        """Stores what the visit bought."""
        self._recent[visit.user] += [str(product + 1) for product in visit.lines["product"].tolist()]


def as_rows(item_ids: list[str]) -> NDArray[np.int64]:
    """The rows of products by their ids, (n,)."""
    return np.array(item_ids, dtype=np.int64) - 1


def retrained(settings: Settings, model: str, folder: Path) -> ModelLists:
    """The lists of a model that is trained now, on all events that the platform has."""
    spec, tables = settings.spec, settings.tables
    items = tables.read("items")
    log = training_log(tables.read("interactions"), items, spec.protocol)
    fitted = fit_with_base_models(model, settings.training, log, encode_items_as_of(items, log.items, log.last_event))
    return ModelLists(fitted.save(folder))
