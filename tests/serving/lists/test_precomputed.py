"""Precomputed lists: what the model would answer, until something happens that they cannot know."""

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommenders.errors import BundleError
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models.calibration import Calibration, Curve
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.lists import precomputed
from serving.lists.precomputed import PrecomputedLists
from serving.lists.predictor import Predictor

SALE_BEGINS, SALE_ENDS = 4_000_000_000_000_000, 4_100_000_000_000_000  # of item 112, and of 101 and 102: after 2096


CURVE = Curve(np.array([0.0, 0.1, 0.4]), np.array([0.01, 0.2, 0.7]))
CALIBRATIONS = {
    "not calibrated": None,
    "calibrated": Calibration({"all": (CURVE,), "popularity": (CURVE,)}),
    "only lists of popularity": Calibration({"popularity": (CURVE,)}),
}


@pytest.fixture(params=CALIBRATIONS.values(), ids=CALIBRATIONS)
def pair(market, tmp_path, request) -> tuple[Predictor, Predictor]:
    """A predictor with precomputed lists, and one without. Some items come on sale later, or go."""
    starts, ends = np.full(12, ALWAYS.min), np.full(12, ALWAYS.max)
    starts[11], ends[:2] = SALE_BEGINS, SALE_ENDS
    log = replace(market.log(), sale_periods=SalePeriods(starts, ends))
    model = CollaborativeFiltering().fit(log)
    model.calibration_ = request.param
    bundle = model.save(tmp_path / "7")
    with_lists, live = Predictor(bundle), Predictor(bundle)
    with_lists.precomputed = precomputed.write(bundle, fingerprint(bundle), live.lists)
    return with_lists, live


def count_live(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of the model from now on."""
    calls: list[Any] = []
    recommend = predictor.lists.recommend

    def counting(*given: Any, **more: Any) -> Any:
        calls.append(given)
        return recommend(*given, **more)

    monkeypatch.setattr(predictor.lists, "recommend", counting)
    return calls


def test_every_answer_is_that_of_the_model(pair, monkeypatch):
    """For random users, histories, lengths, scenes, exclusions, filters and times, with and without the lists."""
    with_lists, live = pair
    calls = count_live(with_lists, monkeypatch)
    rng, n_requests = np.random.default_rng(0), 400
    for _ in range(n_requests):
        user_id = str(rng.integers(1, 9))
        history = [str(item) for item in rng.integers(101, 115, rng.integers(0, 2))]
        exclude = [str(item) for item in rng.integers(101, 115, rng.integers(0, 6))]
        moment = int(rng.choice([1, SALE_BEGINS - 1, SALE_BEGINS, SALE_ENDS]))
        request = (user_id, history, int(rng.integers(1, 13)), moment)
        eligible = rng.random(len(live.item_ids)) < 0.7 if rng.random() < 0.3 else None
        scene = str(rng.choice(["for_you", "for_you", "discover"]))
        more = {"scene": scene, "exclude": exclude, "eligible": eligible}
        found = with_lists.predict(*request, **more)
        assert found == live.predict(*request, **more), (request, more)
        if user_id == "3" and scene == "for_you":
            calibration = live.model.calibration_
            assert (found.probabilities is None) == (calibration is None or "all" not in calibration.curves)
    assert 0.2 * n_requests < len(calls) < 0.9 * n_requests  # both ways are tested


def test_the_model_is_asked_only_for_what_the_lists_cannot_know(pair, monkeypatch):
    with_lists, _ = pair
    calls = count_live(with_lists, monkeypatch)
    with_lists.predict("3", [], 5, 1)
    with_lists.predict("3", [], 5, 1, exclude=["101", "104"])
    with_lists.predict("3", ["unknown"], 5, 1)
    with_lists.predict("3", [], 5, 1, eligible=np.arange(len(with_lists.item_ids)) < 9)
    with_lists.predict("3", [], 100, 1)  # the list ends before 100: it has every item
    assert not calls
    for request in (("3", ["104"], 5, 1), ("new", [], 5, 1), ("3", [], 5, SALE_BEGINS)):  # an item came on sale
        with_lists.predict(*request)
    with_lists.predict("3", [], 5, 1, scene="discover")
    assert len(calls) == 4


def test_a_list_that_may_lack_items_is_not_used():
    """A list of two that was cut: if one is not allowed, a third may follow; one that ends has all there are."""
    on_sale = np.ones(4, np.bool_)
    columns, scores = np.array([[2, 0], [3, -1]], np.int32), np.array([[2.0, 1.0], [1.0, -np.inf]], np.float32)
    lists = PrecomputedLists(columns, scores, np.zeros((2, 2), np.int32), on_sale[:2], on_sale)
    allowed = np.array([False, True, True, True])
    assert lists.best(0, 2, allowed) is None
    assert lists.best(0, 3, on_sale) is None
    found = lists.best(0, 1, allowed)
    assert found is not None
    assert (found.item_columns.tolist(), found.scores.tolist()) == ([[2]], [[2.0]])
    ended = lists.best(1, 2, allowed)
    assert ended is not None
    assert ended.item_columns.tolist() == [[3, -1]]
    assert lists.covers(allowed, exactly=False)
    assert not lists.covers(allowed, exactly=True)
    assert lists.covers(on_sale.copy(), exactly=True)
    assert not replace(lists, on_sale=allowed).covers(on_sale, exactly=False)


def test_damaged_lists_and_those_of_another_bundle_are_refused(market, tmp_path):
    bundle = CollaborativeFiltering().fit(market.log()).save(tmp_path / "7")
    digest = fingerprint(bundle)
    folder = precomputed.folder_of(bundle)
    precomputed.write(bundle, digest, Predictor(bundle).lists)
    assert len(PrecomputedLists.load(folder, digest)) == 6
    with pytest.raises(BundleError, match="made by another bundle"):
        PrecomputedLists.load(folder, "other")
    scores = (folder / "scores.npy").read_bytes()
    (folder / "scores.npy").write_bytes(scores[:-1] + b"x")
    with pytest.raises(BundleError, match=r"scores.npy was changed"):
        PrecomputedLists.load(folder, digest)
    for text in ("", "[]", json.dumps({"bundle_sha256": digest})):
        (folder / precomputed.NOTE).write_text(text)
        with pytest.raises(BundleError, match="cannot be read"):
            PrecomputedLists.load(folder, digest)
    shutil.rmtree(folder)
    with pytest.raises(BundleError, match="cannot be read"):
        PrecomputedLists.load(folder, digest)


def test_the_service_takes_lists_that_appear_later_and_refuses_damaged_ones(market, tmp_path, caplog):
    settings = market.settings(tmp_path)
    bundle = market.release(settings, 1, 0)
    CollaborativeFiltering().fit(market.log()).save(bundle)
    pointer = read_pointer(settings.pointer)
    assert pointer is not None
    digest = fingerprint(bundle)
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=digest))
    watcher = ChampionWatcher(settings.pointer)
    watcher.poll()
    assert watcher.champion
    assert watcher.champion.predictor.precomputed is None
    folder = precomputed.folder_of(bundle)
    folder.mkdir()
    (folder / precomputed.NOTE).write_text("{}")
    watcher.poll()
    watcher.poll()
    assert watcher.champion.predictor.precomputed is None
    assert caplog.text.count("cannot be read") == 1
    precomputed.write(bundle, digest, Predictor(bundle).lists)
    watcher.poll()
    assert watcher.champion.predictor.precomputed is not None
    first = watcher.champion.predictor.precomputed
    watcher.poll()
    assert watcher.champion.predictor.precomputed is first
