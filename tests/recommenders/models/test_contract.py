"""The contract of every model, on a small toy log."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders.errors import BundleError, NoFeaturesError, NotFittedError
from recommenders.events.histories import Histories
from recommenders.models import all_models
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.recommender import Recommender
from recommenders.storage.bundle import MANIFEST
from recommenders.storage.bundle import write as write_bundle
from recommenders.training.fitting import fit_base_model

NAMES = [*all_models.MODELS]
RELAXED = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
NEW, ENDED = 20, 21  # item columns without events; ENDED is not on sale


@pytest.fixture(scope="session")
def fitted(recipe: Any, reorder_world: Any, small_config: Any) -> dict[str, Recommender]:
    """All models. Those that need repeat purchases are fitted on the log with repeat purchases."""
    elsewhere = {one.name: fit_base_model(one.name, small_config, *reorder_world) for one in recipe.skipped}
    return {name: (recipe.fitted | elsewhere)[name] for name in NAMES}


@pytest.fixture(scope="session", params=NAMES)
def model(request: pytest.FixtureRequest, fitted: dict[str, Recommender]) -> Recommender:
    return fitted[request.param]


@pytest.fixture(scope="session")
def bundle(model: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.save(tmp_path_factory.mktemp(model.name) / "bundle")


def all_users(model: Recommender) -> tuple[np.ndarray, Histories]:
    return np.arange(len(model.users_), dtype=np.int32), model.histories_


histories = st.lists(st.sets(st.integers(0, 21), max_size=8), min_size=1, max_size=4)


def cold_start_users(item_sets: list[set[int]], n_items: int = 22) -> tuple[np.ndarray, Histories]:
    return np.full(len(item_sets), -1, np.int32), Histories.from_lists([sorted(known) for known in item_sets], n_items)


def test_scores_are_finite_float32_of_the_right_shape(model: Recommender) -> None:
    scores = model.score(*all_users(model))
    assert scores.shape == (24, 22)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_the_same_seed_gives_the_same_model(model: Recommender, world: Any, reorder_world: Any) -> None:
    log, features = reorder_world if model.repeat_ else world
    again = type(model)(model.config)
    if isinstance(again, Ensemble) and isinstance(model, Ensemble):
        again.fit_from(model.base_models_, log, features)
    else:
        again.fit(log, features)
    np.testing.assert_array_equal(model.score(*all_users(model)), again.score(*all_users(model)))


def test_save_and_load_keep_every_score(model: Recommender, bundle: Path) -> None:
    loaded = all_models.load(bundle)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    np.testing.assert_array_equal(loaded.users_.ids, model.users_.ids)
    np.testing.assert_array_equal(loaded.score(*all_users(model)), model.score(*all_users(model)))


def test_a_bundle_holds_no_pickle(bundle: Path) -> None:
    assert {path.suffix for path in bundle.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_models_of_one_log_share_its_context_on_disk_and_in_memory(
    fitted: dict[str, Recommender], tmp_path: Path
) -> None:
    folders = [model.save(tmp_path / name, shared_context=True) for name, model in fitted.items()]
    loaded = {folder.name: all_models.load(folder) for folder in folders}
    logs = {model.repeat_ for model in fitted.values()}  # with and without repeat purchases
    assert len({id(model.context_) for model in loaded.values()}) == len(logs)
    assert len(list((tmp_path / "contexts").glob("*.safetensors"))) == len(logs)
    assert not list(tmp_path.glob("*/contexts"))
    for name, model in fitted.items():
        np.testing.assert_array_equal(loaded[name].score(*all_users(model)), model.score(*all_users(model)))


def test_a_bundle_is_complete_and_has_no_context_twice(model: Recommender, bundle: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(bundle, tmp_path / "elsewhere"))
    assert len(list(moved.rglob("contexts/*"))) == 1  # that of an ensemble is also that of its base models
    np.testing.assert_array_equal(all_models.load(moved).histories_.item_columns, model.histories_.item_columns)


@pytest.mark.parametrize(("damage", "message"), [("changed", "was changed"), ("removed", "lacks its context")])
def test_a_damaged_context_is_rejected(
    fitted: dict[str, Recommender], tmp_path: Path, damage: str, message: str
) -> None:
    folder = fitted["popularity"].save(tmp_path / "bundle")
    loaded = all_models.load(folder)  # it is in memory, and the file is checked all the same
    (path,) = (folder / "contexts").iterdir()
    if damage == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    else:
        path.unlink()
    with pytest.raises(BundleError, match=message):
        type(loaded).load(folder)


def test_a_context_that_lacks_an_array_is_rejected(fitted: dict[str, Recommender], tmp_path: Path) -> None:
    model = fitted["popularity"]
    arrays = {name: array for name, array in model.context_.arrays().items() if name != "as_of"}
    write_bundle(tmp_path / "bundle", model.to_bundle(), context=arrays)
    with pytest.raises(BundleError, match=r"is not a bundle of this version's popularity: 'as_of'; train anew"):
        all_models.load(tmp_path / "bundle")


def test_a_changed_byte_is_rejected(bundle: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    path = max(damaged.rglob("*.safetensors"), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="was changed"):
        all_models.load(damaged)


def test_a_configuration_of_another_version_is_rejected_with_a_one_line_error(bundle: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    manifest = json.loads((damaged / MANIFEST).read_text())
    manifest["config"]["flux"] = 1
    (damaged / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"flux.*train anew") as caught:
        all_models.load(damaged)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_rejected(bundle: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    (damaged / "arrays.safetensors").unlink()
    with pytest.raises(BundleError, match="lacks arrays"):
        all_models.load(damaged)


def test_single_users_get_the_lists_of_the_batch(model: Recommender) -> None:
    rows, known = all_users(model)
    together = model.recommend(rows, known, 5)
    for row in (0, 7, 23):
        alone = model.recommend(rows[row : row + 1], known[row : row + 1], 5)
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-4, atol=1e-5)


def test_only_what_is_on_sale_and_unknown_is_recommended(model: Recommender) -> None:
    rows, known = all_users(model)
    ranked = model.recommend(rows, known, 22).item_columns
    bought = (known.matrix.toarray() > 0) & (not model.repeat_)
    for row, columns in enumerate(ranked):
        listed = columns[columns >= 0]
        assert ENDED not in listed
        assert not bought[row, listed].any()
        assert len(listed) == 21 - bought[row].sum() == len(set(listed.tolist()))


def test_candidates_and_known_items_follow_the_request(model: Recommender) -> None:
    only = np.zeros(22, dtype=np.bool_)
    only[[3, 4]] = True
    ranked = model.recommend(*all_users(model), 3, candidates=only, exclude_known=False).item_columns
    assert (np.sort(ranked[:, :2]) == [3, 4]).all()
    assert (ranked[:, 2] == -1).all()


@RELAXED
@given(item_sets=histories)
def test_cold_start_users_get_full_finite_lists(fitted: dict[str, Recommender], item_sets: list[set[int]]) -> None:
    rows, known = cold_start_users(item_sets)
    for model in fitted.values():
        ranked = model.recommend(rows, known, 4)
        assert (ranked.item_columns >= 0).all()
        assert np.isfinite(ranked.scores).all()
        assert (np.diff(ranked.scores, axis=1) <= 0).all()
        for columns, items in zip(ranked.item_columns.tolist(), item_sets, strict=True):
            assert not set(columns) & ((set() if model.repeat_ else items) | {ENDED})


def test_personal_models_find_the_item_left_out(model: Recommender, answers: np.ndarray) -> None:
    if model.name == "popularity":
        scores = model.score(*all_users(model))
        assert (scores == scores[0]).all()
        assert scores[0, :20].min() > scores[0, 20:].max() == 0
        return
    first = model.recommend(*all_users(model), 1).item_columns[:, 0]
    colour = first % 2 == np.arange(24) % 2
    assert colour.all()
    # repurchase ranks known items; a model with item features may rank the new item of that colour first
    if not model.handles_new_items and model.name != "repurchase":
        np.testing.assert_array_equal(first, answers)


def test_cold_start_users_are_ranked_for_by_their_history(model: Recommender) -> None:
    if model.name == "popularity":
        return
    rows, known = cold_start_users([{0, 2, 4, 6}, {1, 3, 5, 7}])
    ranked = model.recommend(rows, known, 4).item_columns
    assert (ranked[0] % 2 == 0).mean() > 0.8
    assert (ranked[1] % 2 == 1).mean() > 0.8


def test_new_items_rank_high_if_the_model_handles_new_items(fitted: dict[str, Recommender]) -> None:
    rows, known = cold_start_users([{0, 2, 4, 6, 8}])
    for model in fitted.values():
        scores = model.score(rows, known)[0]
        assert not model.handles_new_items or scores[NEW] > scores[1:20:2].max()


def test_reasons_name_items_of_the_history(model: Recommender) -> None:
    _, known = cold_start_users([{0, 2, 4}])
    reasons = model.explain_all(known, [6, 8], n_reasons=2)
    assert len(reasons) == 2
    for alone, together in zip(model.explain(known, 6, n_reasons=2), reasons[0], strict=True):
        assert alone.item_column == together.item_column
        assert alone.drop == pytest.approx(together.drop, rel=1e-3, abs=1e-5)
    for reason in reasons[0]:
        assert reason.item_column in {0, 2, 4}
        assert reason.drop > 0


def test_content_and_neighbours_can_give_a_reason(fitted: dict[str, Recommender]) -> None:
    _, known = cold_start_users([{0, 2, 4, 1}])
    best = fitted["content_based"].explain(known, 6, n_reasons=4)
    assert {reason.item_column for reason in best} == {0, 2, 4}


@pytest.mark.parametrize("name", NAMES)
def test_an_unfitted_model_raises(name: str) -> None:
    model = all_models.model_class(name)()
    with pytest.raises(NotFittedError, match=f"{name} is not fitted"):
        model.recommend(np.array([0], np.int32), Histories.from_lists([[]], 3), 2)


def test_no_users_give_no_lists(model: Recommender) -> None:
    ranked = model.recommend(np.empty(0, np.int32), Histories.from_lists([], 22), 3)
    assert ranked.item_columns.shape == (0, 3)


def test_content_without_features_is_rejected(world: Any) -> None:
    with pytest.raises(NoFeaturesError, match="got none"):
        all_models.model_class("content_based")().fit(world[0])


def test_recommending_imports_no_heavy_library(model: Recommender, bundle: Path) -> None:
    script = (
        "import sys, json, numpy as np; from pathlib import Path; from recommenders.models import all_models;"
        f"m = all_models.load(Path({str(bundle)!r}));"
        "m.recommend(np.array([0, -1], np.int32), m.histories_[[0, 1]], 3);"
        "heavy = ('torch', 'sklearn', 'xgboost', 'mlflow', 'pyarrow', 'duckdb', 'pandas', 'matplotlib');"
        "print(json.dumps([n for n in heavy if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
