"""The batch lists of all users are the lists of the service."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recommenders.errors import ConfigurationError
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models.calibration import Calibration, Curve
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from serving.champion.pointer import fingerprint
from serving.lists import precomputed
from serving.lists.batch import batch_recommendations
from serving.lists.predictor import Predictor
from serving.lists.served_lists import ServedLists


@pytest.fixture
def batch(tmp_path):
    """A function that makes the table of a model, as the asset does."""

    def make(model, k):
        bundle, lists = model.save(tmp_path / "bundle"), ServedLists(model)
        return batch_recommendations(lists.model, precomputed.write(bundle, fingerprint(bundle), lists), k)

    return make


def test_every_user_gets_the_list_of_the_service(market, tmp_path, batch):
    model = CollaborativeFiltering().fit(market.log())
    table = batch(model, 4)
    assert table.schema.names == ["user_id", "rank", "item_id", "score"]
    assert table.schema.field("item_id").type == pa.string()
    assert table.num_rows == 6 * 4
    predictor = Predictor(model.save(tmp_path / "b"))
    for user_id in ("1", "6"):
        rows = [row for row in table.to_pylist() if row["user_id"] == user_id]
        assert [row["rank"] for row in rows] == [1, 2, 3, 4]
        assert [row["item_id"] for row in rows] == predictor.predict(user_id, [], 4).item_ids


def test_lists_are_short_if_there_are_few_candidates(market, batch):
    model = CollaborativeFiltering().fit(market.log(available=[n < 3 for n in range(12)]))
    assert batch(model, 10).num_rows == 6 * 3


def test_items_that_are_not_on_sale_now_are_in_no_list(market, batch):
    ends = np.where(np.arange(12) < 4, 1, ALWAYS.max)  # 1970
    log = replace(market.log(), sale_periods=SalePeriods(np.full(12, ALWAYS.min), ends))
    served = batch(CollaborativeFiltering().fit(log), 10)["item_id"].to_pylist()
    assert set(served) == {str(item) for item in range(105, 113)}


def test_users_that_the_model_does_not_cover_get_the_list_of_the_service(market, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(CollaborativeFiltering, "covers", lambda self, rows, _: rows % 2 == 0)
    model = CollaborativeFiltering().fit(market.log())
    flat = {kind: (Curve(np.array([0.0]), np.array([value])),) for kind, value in (("all", 0.5), ("popularity", 0.1))}
    model.calibration_ = Calibration(flat)
    predictor = Predictor(model.save(tmp_path / "b"))
    rows = batch(model, 4).to_pylist()
    for user_id, strategy in (("1", "known_user"), ("2", "popularity")):
        found = predictor.predict(user_id, [], 4)
        assert found.strategy == strategy
        assert [row["item_id"] for row in rows if row["user_id"] == user_id] == found.item_ids
        assert found.probabilities == [0.5 if strategy == "known_user" else 0.1] * 4
        assert [row["score"] for row in rows if row["user_id"] == user_id] == found.probabilities


@pytest.mark.parametrize("k", [0, 101])
def test_a_k_that_the_lists_do_not_have_is_an_error(market, batch, k):
    with pytest.raises(ConfigurationError, match=f"batch k: got {k}; allowed: a whole number from 1 to 100"):
        batch(CollaborativeFiltering().fit(market.log()), k)
