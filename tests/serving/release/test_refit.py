"""The checks of a refitted model against the evaluated model of the same recipe."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.errors import BundleError
from recommenders.evaluation.rank import bytes_on_disk, context_bytes
from recommenders.evaluation.window_task import window_task
from recommenders.features.items import encode_items
from recommenders.models import all_models
from recommenders.models.calibration import Curve
from recommenders.models.ease import EASE
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import DEFAULT_OPTIONS, Recommender
from recommenders.splitting.temporal import training_log
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_with_base_models
from serving.lists.served_lists import ServedLists
from serving.release.gate import GateCheck
from serving.release.refit import (
    RefitFigures,
    RefitLimits,
    add_segments,
    measure,
    overlap,
    refit_candidate,
    refit_checks,
    to_record,
)

START = datetime(2026, 1, 1, tzinfo=UTC)  # of the weekly log
CONFIG = TrainingConfig()
MODEL = "ease"
SOUND = RefitFigures(
    users=100, finite=True, missing="", overlap=0.8, random_overlap=0.0, difference=0.01, low=0.0, high=0.02,
    evaluated_mean=0.4, milliseconds=1.0, evaluated_milliseconds=1.0, megabytes=2.0, evaluated_megabytes=2.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"finite": False}, "not all scores"),
        ({"missing": "3 users"}, "lacks 3 users"),
        ({"overlap": 0.19}, "hold 19% of the evaluated model's items"),
        ({"overlap": 0.35, "random_overlap": 0.2}, "35% of the evaluated model's items, over 100 users; at least 36%"),
        ({"overlap": np.nan}, "hold nan%"),
        ({"difference": -0.05, "low": -0.07, "high": -0.03}, "the upper bound must be at least -0.0040"),
        ({"milliseconds": 101.0}, "101.0 ms; at most 100 ms"),
        ({"milliseconds": 400.0, "evaluated_milliseconds": 120.0}, "400.0 ms; at most 360 ms"),
        ({"megabytes": 101.0}, "101.0 MB; at most 100 MB"),
    ],
)
def test_each_limit_has_its_own_check(wrong: dict[str, Any], message: str) -> None:
    assert all(check.passed for check in refit_checks(SOUND))
    (failed,) = [check for check in refit_checks(replace(SOUND, **wrong)) if not check.passed]
    assert message in failed.reason


def test_a_refit_may_be_too_large_if_the_evaluated_model_already_is() -> None:
    large = replace(SOUND, megabytes=420.0, evaluated_megabytes=400.0, milliseconds=250.0, evaluated_milliseconds=240.0)
    assert all(check.passed for check in refit_checks(large))
    assert not all(check.passed for check in refit_checks(large, RefitLimits(slack=1.0)))


def test_the_record_holds_the_checks() -> None:
    checks = refit_checks(replace(SOUND, overlap=np.nan))
    record = to_record(SOUND, checks)
    assert [GateCheck(**check) for check in record["findings"]] == checks
    assert record["figures"]["users"] == SOUND.users


def test_overlap_is_the_share_of_the_left_items_in_the_right_list() -> None:
    left, right = np.array([[1, 2, -1], [3, 4, 5]], np.int32), np.array([[2, 9, 8], [5, 4, 3]], np.int32)
    assert overlap(left, right) == pytest.approx((1 / 2 + 1) / 2)
    assert np.isnan(overlap(np.full((2, 3), -1, np.int32), right))


@pytest.fixture(scope="module")
def data(weekly: Any) -> Any:
    """(window, the whole log, its features, the evaluated model)."""
    (interactions, items), protocol = weekly(), Protocol(split="time_cut", test_days=10)
    window = window_task(interactions, items, protocol)
    log = training_log(interactions, items, protocol)
    return (
        window,
        log,
        encode_items(items, log.items),
        fit_with_base_models(MODEL, CONFIG, window.log, window.features),
    )


def checks_of(data: Any, log: Any, folder: Path) -> dict[str, GateCheck]:
    """The checks of a refit on `log`, by name."""
    window, whole, features, evaluated = data
    bundle = fit_with_base_models(MODEL, CONFIG, log, features).save(folder / "bundle")
    lists, megabytes = window.lists(evaluated), (bytes_on_disk(evaluated) + context_bytes(evaluated)) / 1e6
    figures = measure(bundle, evaluated, lists, megabytes, window, whole)
    return dict(zip(("finite", "log", "overlap", "ndcg", "time", "size"), refit_checks(figures), strict=True))


def test_a_sound_refit_passes(data: Any, tmp_path: Path) -> None:
    checks = checks_of(data, data[1], tmp_path)
    assert all(check.passed for check in checks.values()), checks


def test_a_refit_on_shuffled_items_fails_by_its_lists(data: Any, tmp_path: Path) -> None:
    log = data[1]
    shuffled = np.random.default_rng(1).permutation(len(log.items)).astype(np.int32)[log.item_columns]
    checks = checks_of(data, replace(log, item_columns=shuffled), tmp_path)
    assert not checks["overlap"].passed
    assert not checks["ndcg"].passed


def test_a_refit_on_old_data_fails_by_the_events_that_it_lacks(data: Any, tmp_path: Path) -> None:
    log = data[1]
    checks = checks_of(data, log.select(log.timestamps < log.timestamps.max()), tmp_path)
    assert not checks["log"].passed
    assert "events" in checks["log"].reason


def test_a_bundle_that_does_not_load_is_an_error(data: Any, tmp_path: Path) -> None:
    window, log, _, evaluated = data
    with pytest.raises(BundleError):
        measure(tmp_path, evaluated, window.lists(evaluated), 1.0, window, log)


@pytest.mark.parametrize("model", [Popularity, EASE])
def test_segments_and_their_curves_are_part_of_the_released_bundle(
    weekly: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: type[Recommender]
) -> None:
    """Half of the users join in the last weeks, and buy what others of their industry buy."""
    monkeypatch.setattr("recommenders.models.calibration.MIN_USERS", 5)
    monkeypatch.setattr("recommenders.models.calibration.MIN_BOUGHT", 5)
    interactions, items = weekly(84)
    joins = [START + timedelta(days=7 * (int(user_id[1:]) // 6)) for user_id in interactions["user_id"].to_pylist()]
    interactions = interactions.filter(pc.greater_equal(interactions["timestamp"], pa.array(joins, schema.TIME)))
    log = training_log(interactions, items, Protocol("time_cut", test_days=14))
    ids = log.users.ids.tolist()
    table = pa.table({"user_id": ids, "industry": [str(int(user_id[1:]) % 15) for user_id in ids]})
    users = schema.conform(table, schema.USERS, "users")
    models = {"popularity": Popularity().fit(log), model.name: model().fit(log)}
    released = refit_candidate(model.name, models, log, None, DEFAULT_OPTIONS)
    before = dict(released.calibration_.curves) if released.calibration_ else {}
    reason = add_segments(released, log, users)
    assert reason.startswith("by industry: NDCG@10 of ")
    lists = ServedLists(all_models.load(released.save(tmp_path / "bundle")))
    assert lists.segments
    assert lists.segments.known({"industry": "3", "region": "north"}) == {"industry": "3"}
    assert lists.model.calibration_
    changed = {kind for kind, curves in lists.model.calibration_.curves.items() if not same(curves, before.get(kind))}
    assert changed == {"popularity", "segment"}
    nothing = users.set_column(users.schema.get_field_index("industry"), "industry", pa.nulls(len(users), pa.string()))
    assert add_segments(released, log, nothing) == "no user has an industry, region or segment"
    assert ServedLists(released).segments is None


def same(curves: tuple[Curve, ...], others: tuple[Curve, ...] | None) -> bool:
    return others is not None and all(
        np.array_equal(part, other)
        for curve, known in zip(curves, others, strict=True)
        for part, other in zip(curve, known, strict=True)
    )
