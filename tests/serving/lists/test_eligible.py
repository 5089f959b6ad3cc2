"""Lists of eligible items only: whichever items are eligible, the list is the list of all items without the others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recommenders.datasets.spec import Protocol
from recommenders.events.ids import IdMap
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ease import EASE
from recommenders.models.ensembles.hybrid import Hybrid, HybridConfig
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import training_log
from serving.lists import precomputed
from serving.lists.predictor import Predictor

N_ITEMS = 45
LEARNED = HybridLearnedConfig(
    base_models=("popularity", "ease", "collaborative_filtering"), n_windows=1, n_estimators=10, n_candidates=10
)
MODELS = {
    "popularity": Popularity,
    "ease": EASE,
    "hybrid": lambda: Hybrid(HybridConfig(model_weights={"collaborative_filtering": 1.0})),
    "hybrid_learned": lambda: HybridLearned(LEARNED),
}
SCENES = ("for_you", "reorder", "discover", "basket")


@pytest.fixture(scope="module", params=[True, False], ids=["repeat", "once"])
def predictors(request: Any, weekly: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    """One of each model, on a log of 60 users and 45 items; some events of a user are of few items only."""
    log = training_log(*weekly(40), Protocol("time_cut", test_days=7, repeat=request.param))
    folder: Path = tmp_path_factory.mktemp("bundles")
    fitted: dict[str, Recommender] = {name: make().fit(log) for name, make in MODELS.items()}
    return {name: Predictor(model.save(folder / name)) for name, model in fitted.items()}


subsets = st.sets(st.integers(0, N_ITEMS - 1)) | st.sets(st.integers(0, N_ITEMS - 1), max_size=4)


@pytest.mark.parametrize("model", MODELS)
@example(subsets={*range(14), 18}, user="u00", history=[], scene="for_you", n=6, excluded=[])  # 10 of 15 are proposed
@given(
    subsets=subsets,
    user=st.sampled_from(["u00", "u07", "u33", "a cold-start user"]),
    history=st.lists(st.integers(0, N_ITEMS - 1), max_size=3),
    scene=st.sampled_from(SCENES),
    n=st.integers(1, N_ITEMS),
    excluded=st.lists(st.integers(0, N_ITEMS - 1), max_size=2),
)
def test_the_list_is_that_of_all_items_without_the_others(
    predictors: dict[str, Predictor],
    model: str,
    subsets: set[int],
    user: str,
    history: list[int],
    scene: Any,
    n: int,
    excluded: list[int],
) -> None:
    predictor = predictors[model]
    ids = predictor.model.items_.ids.tolist()
    assert len(ids) == N_ITEMS
    eligible = np.isin(np.arange(N_ITEMS), list(subsets))
    asked = {"scene": scene, "exclude": [ids[column] for column in excluded]}
    known = [ids[column] for column in history]
    everything = predictor.predict(user, known, N_ITEMS, **asked)
    whole = predictor.predict(user, known, N_ITEMS, **asked, eligible=eligible)
    found = predictor.predict(user, known, n, **asked, eligible=eligible)
    scores = dict(zip(everything.item_ids, everything.scores, strict=True))
    expected = [id_ for id_ in everything.item_ids if eligible[ids.index(id_)]]
    assert len(found.item_ids) == min(n, len(expected))
    assert whole.item_ids == expected
    # a shorter list of hybrid_learned has fewer candidates, so another item may have its last places
    n_equal = n if model != "hybrid_learned" or len(expected) <= predictor.model.longest_list else 0
    assert found.item_ids[:n_equal] == expected[:n_equal]
    assert set(found.item_ids) <= set(expected)
    assert found.scores == pytest.approx([scores[id_] for id_ in found.item_ids], rel=1e-5, abs=1e-6)
    assert found.strategy == everything.strategy


def test_a_narrow_mask_of_five_thousand_items_gives_all_of_them(market: Any, tmp_path: Path) -> None:
    """The base models propose 10 items each; none of the 12 eligible ones is among the best of all."""
    rng = np.random.default_rng(0)
    n_items, n_users, n_events = 5000, 50, 3000
    base = market.log()
    items = IdMap.from_ids(f"{n:04}" for n in range(n_items))
    log = replace(
        base,
        users=IdMap.from_ids(f"u{n:02}" for n in range(n_users)),
        items=items,
        user_rows=rng.integers(0, n_users, n_events).astype(np.int32),
        item_columns=(rng.zipf(1.3, n_events) % 4000).astype(np.int32),
        timestamps=np.sort(rng.integers(0, 10**14, n_events)),
        weights=np.ones(n_events, np.float32),
        strengths=np.ones(n_events, np.float32),
        available=np.ones(n_items, np.bool_),
    )
    predictor = Predictor(HybridLearned(LEARNED).fit(log).save(tmp_path / "b"))
    eligible = np.zeros(n_items, np.bool_)
    eligible[4100:4112] = True  # sold to no user
    for scene in ("for_you", "discover", "basket"):
        for user in ("u00", "a cold-start user"):
            for history in ([], ["0001", "0002"]):
                found = predictor.predict(user, history, 50, scene=scene, eligible=eligible).item_ids
                assert sorted(found) == [f"{n:04}" for n in range(4100, 4112)]
                assert len(predictor.predict(user, history, 5, scene=scene, eligible=eligible).item_ids) == 5


def test_a_model_that_ranks_few_items_is_filled_up_with_eligible_ones(market: Any, tmp_path: Path) -> None:
    predictor = Predictor(CollaborativeFiltering().fit(market.log(repeat=False)).save(tmp_path / "b"))
    eligible = np.zeros(12, np.bool_)
    eligible[[1, 8, 9]] = True
    for user in ("2", "3", "unknown"):
        bought = {"102"} if user == "2" else set()
        assert set(predictor.predict(user, [], 10, eligible=eligible).item_ids) == {"102", "109", "110"} - bought


def test_lists_that_were_made_before_the_request_do_not_replace_a_list_of_eligible_items(
    market: Any, tmp_path: Path
) -> None:
    folder = Popularity().fit(market.log()).save(tmp_path / "b")
    predictor = Predictor(folder)
    eligible = np.arange(12) >= 9
    asked = predictor.predict("3", [], 2, eligible=eligible)
    predictor.precomputed = precomputed.write(folder, "sha", predictor.lists)
    assert predictor.predict("3", [], 2, eligible=eligible) == asked
    assert set(asked.item_ids) <= {"110", "111", "112"}
