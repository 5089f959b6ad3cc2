"""The input of peers, the checks of their lists, and the tuning of their settings."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accuracy
import numpy as np
import pytest
import task
from hypothesis import given
from hypothesis import strategies as st
from measuring.accuracy import entrant_lists
from peers import environments
from peers.environments import HERE, PROCESS, Answer, PeerError, events_of, pairs_of, pinned, sources
from peers.tuning import chosen_settings
from peers.tuning import search as tuning
from peers.tuning.spaces import BUDGET, DEFAULTS, GRIDS, NETWORKS, PEERS, WHOLE, at_edge, params_at, scattered
from scipy.sparse import csr_array, csr_matrix

from recommenders.evaluation.tasks.sampled import Candidates
from recommenders.evaluation.tasks.task import TaskView
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions

N_USERS, N_ITEMS = 4, 12


def log_of(users: list[int], items: list[int], weights: list[float] | None = None) -> Interactions:
    n = len(users)
    values = np.array(weights or [1.0] * n, dtype=np.float32)
    return Interactions(
        IdMap(np.array([f"u{i}" for i in range(N_USERS)])),
        IdMap(np.array([f"i{i:02}" for i in range(N_ITEMS)])),
        np.array(users, dtype=np.int32),
        np.array(items, dtype=np.int32),
        np.arange(n, dtype=np.int64) * 10,
        values,
        values,
        np.ones(N_ITEMS, dtype=np.bool_),
        repeat=True,
    )


# -- input


def test_a_peer_gets_one_row_per_pair_with_summed_weight_and_the_newest_time() -> None:
    found = pairs_of(log_of([1, 0, 1, 1], [2, 3, 2, 0], [1.0, 2.0, 4.0, 8.0]))
    rows = sorted(zip(*(found[name].tolist() for name in ("users", "items", "weights", "timestamps")), strict=True))
    assert rows == [(0, 3, 2.0, 10), (1, 0, 8.0, 30), (1, 2, 5.0, 20)]
    assert (found["n_users"], found["n_items"]) == (N_USERS, N_ITEMS)


def test_sequence_models_get_every_event_in_time_order() -> None:
    log = log_of([1, 0, 1, 1], [2, 3, 2, 0])
    found = events_of(log)
    assert found["event_users"].tolist() == [1, 0, 1, 1]
    assert found["event_items"].tolist() == [2, 3, 2, 0]
    assert np.all(np.diff(found["event_timestamps"]) >= 0)
    assert found["repeat"]


def test_the_sources_of_a_peer_include_everything_its_runner_imports() -> None:
    for environment in {environment for environment, _ in PEERS.values()}:
        folder, texts = HERE / environment, sources(environment)
        for path in (PROCESS / "task.py", folder / "run.py", folder / "requirements.txt"):
            assert path.read_text() in texts
        for path in (*folder.glob("*.py"), *PROCESS.glob("*.py")):
            if f"from {path.stem} import" in (folder / "run.py").read_text() and path.stem != "memory":
                assert path.read_text() in texts, f"{environment} lacks {path.name}"
        assert pinned(environment)


def test_the_folder_of_a_peer_never_takes_the_place_of_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the library's name. Its process gets no path that holds it; even on the path it is no package."""
    given: dict[str, Any] = {}

    def started(command: list[str], env: dict[str, str], cwd: str, **_: Any) -> Any:
        given.update(script=Path(command[1]), path=env["PYTHONPATH"].split(os.pathsep), cwd=Path(cwd))
        return SimpleNamespace(returncode=1, stderr="stopped")

    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(environments, "python_of", lambda _: Path(sys.executable))
    monkeypatch.setattr(environments.subprocess, "run", started)
    with pytest.raises(PeerError, match="stopped"):
        environments.ask("implicit", log_of([0], [0]), np.array([0], np.int32), [])
    searched = [given["script"].parent, given["cwd"], *map(Path, given["path"])]
    assert HERE not in searched
    peers = {path.name for path in HERE.iterdir() if path.is_dir()} - {"process", "tuning", "__pycache__"}
    assert peers >= {environment for environment, _ in PEERS.values()}
    for place in searched:
        assert not peers & {path.stem for path in place.glob("*")}, place
    assert not [name for name in peers if (HERE / name / "__init__.py").exists()]


# -- lists


def toy_job(scores: np.ndarray, candidates: np.ndarray, k: int) -> Any:
    return SimpleNamespace(k=k, candidates=candidates, shape=scores.shape)


@given(st.integers(0, 2**32 - 1), st.integers(1, N_ITEMS))
def test_a_runners_lists_are_the_best_candidates_that_are_not_known(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(N_ITEMS, dtype=np.float64), (N_USERS, 1)), axis=1)
    candidates, known = rng.random(N_ITEMS) < 0.7, csr_matrix(rng.random(scores.shape) < 0.3)
    masked = task.top_lists(scores, toy_job(scores, candidates, k), known)
    unmasked = task.top_lists(scores, toy_job(scores, candidates, k), None)
    for user in range(N_USERS):
        order = [item for item in np.argsort(-scores[user]) if candidates[item]]
        free = [item for item in order if not known[user, item]]
        assert [item for item in unmasked[user] if item >= 0] == order[:k]
        assert [item for item in masked[user] if item >= 0] == free[:k]


@given(st.integers(0, 2**32 - 1), st.integers(1, N_ITEMS))
def test_a_librarys_own_lists_keep_their_order_without_items_that_are_not_candidates(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    ranked = rng.permuted(np.tile(np.arange(N_ITEMS), (N_USERS, 1)), axis=1)
    candidates = rng.random(N_ITEMS) < 0.7
    found = task.first_candidates(ranked, toy_job(ranked, candidates, k))
    for user in range(N_USERS):
        assert [item for item in found[user] if item >= 0] == [item for item in ranked[user] if candidates[item]][:k]


def test_implicits_lists_end_before_the_items_it_filters_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbour scores are above 0 and excluded items follow with 0; factor scores have any sign and -1 follows."""
    kinds = ("BM25Recommender", "CosineRecommender", "ItemItemRecommender", "TFIDFRecommender")
    for name, parts in {
        "implicit.cpu.als": ("AlternatingLeastSquares",),
        "implicit.cpu.topk": ("topk",),
        "implicit.nearest_neighbours": (*kinds, "all_pairs_knn", "normalize"),
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**dict.fromkeys(parts, SimpleNamespace)))
    monkeypatch.delitem(sys.modules, "peers.implicit.run", raising=False)
    runner = importlib.import_module("peers.implicit.run")
    ranked, least = np.array([[3, 5, 7, -1]]), -np.finfo(np.float32).max
    job = SimpleNamespace(k=3, depth=4, candidates=np.ones(8, np.bool_), user_rows=np.array([0]))
    for scores, lowest, expected in (
        ([0.4, 0.1, 0.0, least], 0.0, [3, 5, -1]),
        ([0.4, -0.1, -0.2, least], least, [3, 5, 7]),
    ):
        model = SimpleNamespace(recommend=lambda *_, scores=scores, **__: (ranked, np.array([scores])))
        assert runner.recommending(model, csr_matrix((1, 8)), job, lowest)(True).tolist() == [expected]


@given(st.integers(0, 2**32 - 1))
def test_sampled_candidates_keep_the_order_of_the_peers_full_ranking(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranked = rng.permuted(np.tile(np.arange(N_ITEMS, dtype=np.int32), (N_USERS, 1)), axis=1)
    columns = rng.permuted(np.tile(np.arange(N_ITEMS, dtype=np.int32), (N_USERS, 1)), axis=1)[:, :10]
    found = entrant_lists.rank_among_candidates(ranked, Candidates(columns, np.full(N_USERS, 10)), N_ITEMS)
    for user in range(N_USERS):
        assert found[user].tolist() == [item for item in ranked[user] if item in columns[user]]


def toy_task(log: Interactions) -> Any:
    histories = log.histories()
    targets = csr_array(np.eye(N_USERS, N_ITEMS, dtype=np.float32))
    case = SimpleNamespace(
        user_rows=np.arange(N_USERS, dtype=np.int32), histories=histories, candidates=log.available, relevant=targets
    )
    views = {"all": TaskView(targets, False), "discovery": TaskView(targets, True)}
    return SimpleNamespace(name="toy", key=("toy", 1), log=log, case=case, views=views, sampled=None)


LOG = log_of([0, 1, 2, 3, 3], [0, 1, 2, 3, 4])
EVERYTHING = np.tile(np.arange(N_ITEMS, dtype=np.int32), (N_USERS, 1))
MASKED = np.array([[i for i in range(N_ITEMS) if i not in known][:10] for known in ({0}, {1}, {2}, {3, 4})], np.int32)


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray, np.ndarray], None]:
    monkeypatch.setenv("TRADEWIND_BENCH", str(tmp_path))

    def prepare(unmasked: np.ndarray, masked: np.ndarray) -> None:
        monkeypatch.setattr(entrant_lists, "ask", lambda *_, **__: [Answer(unmasked, masked, {})])

    return prepare


def test_a_view_without_known_items_gets_the_lists_without_them(answer: Any) -> None:
    answer(EVERYTHING[:, :10], MASKED)
    found, ended = entrant_lists.peer("implicit_als", toy_task(LOG), {}, 1)
    assert not ended
    np.testing.assert_array_equal(found["all"], EVERYTHING[:, :10])
    np.testing.assert_array_equal(found["discovery"], MASKED)


def test_sampled_lists_follow_the_peers_full_ranking(answer: Any) -> None:
    toy = toy_task(LOG)
    toy.sampled = Candidates(np.tile(np.arange(N_ITEMS - 1, -1, -1, dtype=np.int32), (N_USERS, 1)), np.full(4, N_ITEMS))
    answer(EVERYTHING, np.hstack([MASKED, np.full((N_USERS, 2), -1, np.int32)]))
    found, _ = entrant_lists.peer("implicit_als", toy, {}, 1)
    np.testing.assert_array_equal(found["sampled"], EVERYTHING[:, :10])


def test_kept_lists_belong_to_all_that_a_peer_is_given() -> None:
    toy, key = toy_task(LOG), entrant_lists.given(toy_task(LOG))
    toy.name = toy.key = "renamed"
    assert entrant_lists.given(toy) == key
    others = {"log": log_of([0, 1, 2, 3, 3], [0, 1, 2, 3, 5]), "sampled": Candidates(EVERYTHING, np.full(4, N_ITEMS))}
    others["views"] = {"all": toy.views["all"]}
    others["case"] = SimpleNamespace(**{**vars(toy.case), "user_rows": np.arange(1, 1 + N_USERS, dtype=np.int32)})
    for part, other in others.items():
        changed = toy_task(LOG)
        setattr(changed, part, other)
        assert entrant_lists.given(changed) != key, part


def test_lists_with_excluded_known_items_are_an_error(answer: Any) -> None:
    answer(EVERYTHING[:, :10], EVERYTHING[:, :10])
    with pytest.raises(PeerError, match="discovery contain known items of the user"):
        entrant_lists.peer("implicit_als", toy_task(LOG), {}, 1)


def test_lists_with_an_item_twice_or_no_candidate_are_an_error(answer: Any) -> None:
    toy_without_item = toy_task(LOG)
    toy_without_item.case.candidates = np.arange(N_ITEMS) != 5
    answer(EVERYTHING[:, :10], MASKED)
    with pytest.raises(PeerError, match="items that are not candidates"):
        entrant_lists.peer("implicit_als", toy_without_item, {}, 1)
    answer(np.zeros((N_USERS, 10), np.int32), MASKED)
    with pytest.raises(PeerError, match="an item twice"):
        entrant_lists.peer("implicit_als", toy_task(LOG), {}, 1)


def test_a_runner_masks_on_request_and_fits_a_small_log_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(N_USERS, dtype=np.int32)
    np.savez(tmp_path / "log.npz", **pairs_of(LOG), **events_of(LOG), user_rows=rows, candidates=LOG.available)
    request = {"version": "1", "threads": 1, "seed": 42, "k": 10, "epochs": 3, "patience": 1, "seconds": 1.0}
    request |= {"warm": True, "exclude_known": [False, True], "jobs": [{"model": "first", "params": {}}]}
    (tmp_path / "request.json").write_text(json.dumps(request))
    monkeypatch.setattr("sys.argv", ["run", str(tmp_path)])
    monkeypatch.setattr(task, "version", lambda _: "1")
    fitted = []

    def first(job: task.Job) -> Callable[[bool], np.ndarray]:
        fitted.append(job)
        with job.measured("fit"):
            known = job.matrix()
        scores = np.tile(-np.arange(N_ITEMS, dtype=np.float64), (len(job.user_rows), 1))
        return lambda masked: task.top_lists(scores, job, known[job.user_rows] if masked else None)

    task.serve("some", {"first": first})
    lists = np.load(tmp_path / "answer-0.npz")
    np.testing.assert_array_equal(lists["stay"], EVERYTHING[:, :10])
    np.testing.assert_array_equal(lists["masked"], MASKED)
    small, whole = fitted
    assert small.figures is not whole.figures
    (figures,) = json.loads((tmp_path / "figures.json").read_text())
    assert {"fit_cpu", "recommend_cpu", "peak_mb"} <= set(figures)


def test_each_kind_of_list_that_a_view_needs_is_requested() -> None:
    toy = toy_task(LOG)
    assert tuning.exclusions(toy) == [False, True]
    toy.views = {"all": toy.views["discovery"]}
    assert tuning.exclusions(toy) == [True]


# -- settings


def test_settings_are_from_the_current_grid_and_budget_or_listed_to_be_tuned() -> None:
    """Settings of an older grid or version, of fewer trials, or on an edge that was not widened must be tuned again."""
    listed = json.loads(chosen_settings.TO_BE_TUNED.read_text())
    assert listed == chosen_settings.to_be_tuned(chosen_settings.settings()), (
        "peers/tuning/to_be_tuned.json must list exactly the peers whose settings have shortcomings; "
        "run benchmarks/accuracy.py --tune, which writes both files"
    )


def tuned(peer: str, **changed: Any) -> dict[str, Any]:
    middle = params_at(peer, tuple(len(values) // 2 for values in GRIDS[peer].values()))
    views = {"all": {"params": middle, "validation": 0.1, "at_edge": []}}
    return {
        "grid": chosen_settings.grid_of(peer),
        "tried": BUDGET.trials,
        "failed": 0,
        "seconds": 1,
        "views": views,
    } | changed


@pytest.mark.parametrize("peer", PEERS)
def test_shortcomings_are_an_older_grid_fewer_trials_and_an_edge(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_settings.shortcomings(peer, tuned(peer)) == []
    assert chosen_settings.shortcomings(peer, None) == ["never tuned"]
    assert chosen_settings.shortcomings(peer, tuned(peer, grid="before")) == ["of an older grid"]
    too_few = tuned(peer, tried=BUDGET.trials - 1)
    assert chosen_settings.shortcomings(peer, too_few) == [f"of {BUDGET.trials - 1} trials, not {BUDGET.trials}"]
    assert chosen_settings.shortcomings(peer, too_few | {"seconds": BUDGET.seconds}) == []
    on_edge = tuned(peer)
    on_edge["views"]["all"]["at_edge"] = ["epochs"]
    assert chosen_settings.shortcomings(peer, on_edge) == ["epochs on the edge of the grid (all)"]
    on_edge["views"]["reorder"] = on_edge["views"]["all"]
    assert chosen_settings.shortcomings(peer, on_edge) == ["epochs on the edge of the grid (all, reorder)"]
    before = tuned(peer)
    axis, values = next((axis, values) for axis, values in GRIDS[peer].items() if len(values) > 1)
    monkeypatch.setitem(GRIDS[peer], axis, values[:-1])
    assert "of an older grid" in chosen_settings.shortcomings(peer, before)


def test_an_edge_is_an_end_of_an_axis_that_can_be_extended() -> None:
    inner = params_at("lenskit_als", (2, 4, 4, 0, 0))
    assert at_edge("lenskit_als", inner) == []
    assert at_edge("lenskit_als", inner | {"weight": GRIDS["lenskit_als"]["weight"][0]}) == ["weight"]
    assert at_edge("lenskit_als", inner | {"embedding_size": GRIDS["lenskit_als"]["embedding_size"][-1]}) == [
        "embedding_size"
    ]
    assert at_edge("lenskit_item_neighbours", {"max_nbrs": 20, "min_sim": 1e-6, "save_nbrs": None}) == []


@pytest.mark.parametrize("peer", PEERS)
def test_random_points_are_never_on_an_edge(peer: str) -> None:
    random_points = [params_at(peer, point) for point in scattered(peer, 64)]
    assert not any(at_edge(peer, params) for params in random_points)
    assert not any(axis in WHOLE for params in random_points for axis in at_edge(peer, params))


def test_networks_end_by_early_stopping_before_the_last_epoch() -> None:
    for peer in ("recbole_neumf", "recbole_sasrec", "rectools_sasrec"):
        assert "epochs" not in {**GRIDS[peer], **DEFAULTS[peer]}
    assert GRIDS["recbole_neumf"]["negatives"] == (1, 4)
    assert chosen_settings.EPOCHS == 300
    params = params_at("recbole_neumf", (1, 1, 1, 1, 1, 1, 0))
    found = tuning.best_of("recbole_neumf", [tuning.Trial(params, {"all": 0.1}, 1.0, 300, False)])
    assert "epochs" in found["views"]["all"]["at_edge"]
    assert found["views"]["all"]["ended_by"] == "all epochs"
    found = tuning.best_of("recbole_neumf", [tuning.Trial(params, {"all": 0.1}, 1.0, 40, True)])
    assert (found["views"]["all"]["at_edge"], found["views"]["all"]["ended_by"]) == ([], "early stopping")


def test_more_seconds_for_networks_make_no_other_settings_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {peer: chosen_settings.grid_of(peer) for peer in PEERS}
    monkeypatch.setattr(chosen_settings, "NETWORKS", {name: 2 * seconds for name, seconds in NETWORKS.items()})
    changed = {peer for peer in PEERS if chosen_settings.grid_of(peer) != before[peer]}
    assert changed == {"recbole_neumf", "recbole_sasrec", "rectools_sasrec"}


def test_tuning_starts_no_trial_after_its_time_and_continues_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "TRIED", tmp_path / "trials.jsonl")
    monkeypatch.setattr(tuning, "python_of", lambda _: tmp_path)
    monkeypatch.setattr(tuning, "ask", lambda *_, **__: [Answer(EVERYTHING, MASKED, {})])
    toy, params = toy_task(LOG), params_at("rectools_ease", (3, 0))
    done = tuning._measure("rectools_ease", toy, 1)(params)
    late = tuning._measure("rectools_ease", toy, 1, until=0.0)
    assert late(params) == done  # kept, so it costs nothing
    with pytest.raises(tuning.OutOfTime, match="go on"):
        late(params_at("rectools_ease", (4, 0)))


def test_a_search_starts_from_old_settings_that_are_still_in_the_grid() -> None:
    good = params_at("recbole_neumf", (2, 1, 2, 2, 1, 0, 0))
    before = {"views": {"all": {"params": good}, "reorder": {"params": good | {"epochs": 30}}}}
    assert tuning._starts("recbole_neumf", before) == [DEFAULTS["recbole_neumf"], good]


def test_the_table_has_a_note_on_a_peers_settings() -> None:
    assert accuracy.peer_note("rectools_ease", None) == "not tuned: library defaults"
    assert accuracy.peer_note("rectools_ease", tuned("rectools_ease")) == ""
    assert accuracy.peer_note("rectools_ease", tuned("rectools_ease", grid="x")) == "settings of an older grid"
    assert accuracy.peer_note("recbole_neumf", tuned("recbole_neumf"), {chosen_settings.EARLY}) == ""
    cut = accuracy.peer_note("recbole_sasrec", None, {chosen_settings.EARLY, "its seconds"})
    assert cut == "not tuned: library defaults; training was ended by its seconds"


def test_training_ended_by_its_seconds_differs_from_early_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_BENCH", str(tmp_path))
    given = {}

    def ask(*_: Any, **limits: float) -> list[Answer]:
        given.update(limits)
        return [Answer(EVERYTHING[:, :10], MASKED, {"epochs": 7.0, "ended_early": 0.0})]

    monkeypatch.setattr(entrant_lists, "ask", ask)
    for _ in ("computed", "kept"):
        assert entrant_lists.peer("recbole_sasrec", toy_task(LOG), {}, 1)[1] == {"its seconds"}
    assert given["seconds"] == NETWORKS["recbole_sasrec"] < given["timeout"]
    assert chosen_settings.ended_by({"epochs": 7.0, "ended_early": 1.0}) == chosen_settings.EARLY
    assert chosen_settings.ended_by({"epochs": 300.0, "ended_early": 0.0}) == "all epochs"


def test_a_peer_that_keeps_its_defaults_is_not_tuned(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    toy = SimpleNamespace(log=LOG, protocol=SimpleNamespace(split="latest_out"))
    monkeypatch.setattr(tuning, "benchmark_task", lambda *_, **__: toy)
    tuning.tune("ml-100k", ["recbole_sasrec"])
    assert "recbole_sasrec: keeps its defaults; one epoch" in capsys.readouterr().out
    assert "recbole_sasrec" in chosen_settings.to_be_tuned(chosen_settings.settings())["ml-100k"]
