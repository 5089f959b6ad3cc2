"""The refit before it serves: the recipe that was judged, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.errors import BundleError
from recommenders.evaluation.rank import bytes_on_disk
from recommenders.evaluation.window import question_of
from recommenders.features.items import encode_items
from recommenders.splitting.temporal import training_log
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_one
from serving.release.gate import Finding
from serving.release.refit import RefitFigures, RefitLimits, findings, measure, of_record, overlap, to_record

CONFIG = TrainingConfig()
MODEL = "ease"
SOUND = RefitFigures(
    users=100, finite=True, missing="", overlap=0.8, chance=0.0, difference=0.01, low=0.0, high=0.02, judged_mean=0.4,
    milliseconds=1.0, judged_milliseconds=1.0, megabytes=2.0, judged_megabytes=2.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"finite": False}, "not all finite"),
        ({"missing": "3 users"}, "but 3 users"),
        ({"overlap": 0.19}, "shares 19% of the judged model's places"),
        ({"overlap": 0.35, "chance": 0.2}, "shares 35% of the judged model's places over 100 users; least: 36%"),
        ({"overlap": np.nan}, "shares nan%"),
        ({"difference": -0.05, "low": -0.07, "high": -0.03}, "the high end must reach -0.0040"),
        ({"milliseconds": 101.0}, "101.0 ms; most: 100"),
        ({"milliseconds": 400.0, "judged_milliseconds": 120.0}, "400.0 ms; most: 360"),
        ({"megabytes": 101.0}, "101.0 MB; most: 100"),
    ],
)
def test_each_limit_is_a_finding_of_its_own(wrong: dict[str, Any], said: str) -> None:
    assert all(one.passed for one in findings(SOUND))
    (failed,) = [one for one in findings(replace(SOUND, **wrong)) if not one.passed]
    assert said in failed.reason


def test_a_catalogue_for_which_the_judged_model_is_too_large_already_may_be_released() -> None:
    large = replace(SOUND, megabytes=420.0, judged_megabytes=400.0, milliseconds=250.0, judged_milliseconds=240.0)
    assert all(one.passed for one in findings(large))
    assert not all(one.passed for one in findings(large, RefitLimits(slack=1.0)))


def test_the_record_holds_the_findings() -> None:
    found = findings(replace(SOUND, overlap=np.nan))
    assert of_record(to_record(SOUND, found)) == found
    assert of_record({}) == []
    assert isinstance(found[0], Finding)


def test_overlap_is_the_share_of_the_left_lists_items() -> None:
    left, right = np.array([[1, 2, -1], [3, 4, 5]], np.int32), np.array([[2, 9, 8], [5, 4, 3]], np.int32)
    assert overlap(left, right) == pytest.approx((1 / 2 + 1) / 2)
    assert np.isnan(overlap(np.full((2, 3), -1, np.int32), right))


@pytest.fixture(scope="module")
def world(weekly: Any) -> Any:
    """(question, the whole log, its features, the judged model)."""
    (interactions, items), protocol = weekly(), Protocol(split="time_cut", test_days=10)
    question = question_of(interactions, items, protocol)
    log = training_log(interactions, items, protocol)
    return question, log, encode_items(items, log.items), fit_one(MODEL, CONFIG, question.log, question.features)


def looked_at(world: Any, log: Any, folder: Path) -> dict[str, Finding]:
    """The findings of a refit that has learned from `log`, by their first words."""
    question, whole, features, judged = world
    bundle = fit_one(MODEL, CONFIG, log, features).save(folder / "bundle")
    lists, megabytes = question.lists(judged), bytes_on_disk(judged) / 1e6
    figures = measure(bundle, judged, lists, megabytes, question, whole)
    return dict(zip(("finite", "log", "overlap", "window", "time", "size"), findings(figures), strict=True))


def test_a_sound_refit_passes(world: Any, tmp_path: Path) -> None:
    found = looked_at(world, world[1], tmp_path)
    assert all(one.passed for one in found.values()), found


def test_a_refit_on_other_items_is_found_by_its_lists(world: Any, tmp_path: Path) -> None:
    log = world[1]
    shuffled = np.random.default_rng(1).permutation(len(log.items)).astype(np.int32)[log.item_columns]
    found = looked_at(world, replace(log, item_columns=shuffled), tmp_path)
    assert not found["overlap"].passed
    assert not found["window"].passed


def test_a_refit_on_old_data_is_found_by_what_it_does_not_know(world: Any, tmp_path: Path) -> None:
    log = world[1]
    found = looked_at(world, log.select(log.timestamps < log.timestamps.max()), tmp_path)
    assert not found["log"].passed
    assert "events" in found["log"].reason


def test_a_bundle_that_does_not_load_is_an_error(world: Any, tmp_path: Path) -> None:
    question, log, _, judged = world
    with pytest.raises(BundleError):
        measure(tmp_path, judged, question.lists(judged), 1.0, question, log)
