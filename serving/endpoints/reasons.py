"""Reasons for the items of a list, as POST /predict answers them."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from serving.web.predict_request import as_sent

if TYPE_CHECKING:
    from serving.lists.explanations import Counterfactual, Reasons
    from serving.lists.predictor import Predictor
    from serving.lists.query import Query

MAX_SECONDS = 0.5  # after which no further items of the history are left out
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEANINGS = {
    "popularity": "bought by many users",
    "segment": "bought by users with the same attributes",
    "content_based": "similar to items of the history",
    "collaborative_filtering": "bought by similar users",
    "ease": "bought by users who bought items of the history",
    "ials": "fits the taste that the history shows",
    "repurchase": "due to be bought again",
    "sasrec": "follows the newest items of the history",
    "neural_collaborative": "fits the user, by a neural network",
    "item_sales": "sales and age of the item",
    "user_activity": "how often and how much the user buys",
    "own_purchases": "the user's earlier purchases of the item",
    "category": "the category's share of the user's purchases",
    "mean_candidate": "the score of a mean candidate of the user",
}


async def reasons_for(predictor: "Predictor", query: "Query", k: int, moment: int) -> "list[Reasons]":
    """The reasons for each item of the list of k items. Other requests are answered between two of its rankings."""
    from serving.lists.explanations import Explanation  # the process that only starts the worker needs no numpy

    explanation, end = Explanation(predictor, query, k, moment), time.monotonic() + MAX_SECONDS
    for column in explanation.trials():
        await asyncio.sleep(0)
        if time.monotonic() > end:
            break
        explanation.rank_without(column)
    return explanation.reasons()


def answered_reasons(reasons: "Reasons", numbers: bool) -> dict[str, Any]:
    """The reasons for one item. numbers: whether item ids are answered as numbers."""
    ordered = sorted(reasons.contributions, key=lambda part: -abs(part.amount))
    return {
        "score": reasons.score,
        "contributions": [
            {"source": part.source, "meaning": MEANINGS.get(part.source, part.source), "amount": part.amount}
            for part in ordered
        ],
        "counterfactuals": [_counterfactual(one, numbers) for one in reasons.counterfactuals],
    }


def _counterfactual(one: "Counterfactual", numbers: bool) -> dict[str, Any]:
    last = None if one.last_event is None else EPOCH + timedelta(microseconds=one.last_event)
    return {
        "without": as_sent(one.without, numbers),
        "n_events": one.n_events,
        "last_event": last and last.isoformat().replace("+00:00", "Z"),
        "rank": one.rank,
        "rank_without": one.rank_without,
    }
