"""`tradewind benchmark` in a shell, also with models that cannot be fitted."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recommenders.errors import ConfigurationError
from recommenders.evaluation.benchmark.file_benchmark import BenchmarkFiles
from recommenders.evaluation.benchmark.results import to_markdown
from recommenders.training.benchmark_run import evaluate_files
from recommenders.training.configuration import FitConfig, TrainingConfig

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
METRICS = {f"{name}@10" for name in ("hit_rate", "ndcg", "precision", "recall", "map", "mrr")}
N_ITEMS = 20


def tradewind(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "TRADEWIND_HOME": str(home)}
    return subprocess.run([TRADEWIND, *arguments], capture_output=True, text=True, timeout=120, env=env)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkerboard in the layout of the NCF paper: even users have even items, odd users odd items."""
    folder = tmp_path_factory.mktemp("files")
    train, test, negative = [], [], []
    for user in range(24):
        same_colour = [item for item in range(N_ITEMS) if item % 2 == user % 2]
        held_out = same_colour[(user // 2) % len(same_colour)]
        train += [f"{user}\t{item}\t5\t{order}\n" for order, item in enumerate(same_colour) if item != held_out]
        test.append(f"{user}\t{held_out}\t5\t99\n")
        other_colour = [str(item) for item in range(N_ITEMS) if item % 2 != user % 2]
        negative.append(f"({user},{held_out})\t" + "\t".join(other_colour) + "\n")
    test.append("unknown\t1\t5\t99\n")
    (folder / "toy.train.rating").write_text("".join(train))
    (folder / "toy.test.rating.gz").write_bytes(gzip.compress("".join(test).encode()))
    (folder / "toy.test.negative").write_text("".join(negative))
    colours = "".join(f"{item},{'odd' if item % 2 else 'even'} thing\n" for item in range(N_ITEMS))
    (folder / "toy.items.csv").write_text("item_id,title\n" + colours)
    return folder


@pytest.fixture(scope="module")
def quick() -> TrainingConfig:
    """A hybrid of two quick base models."""
    weights = {"content_based": 0.5, "collaborative_filtering": 0.5}
    return TrainingConfig.model_validate(
        {"models": {"hybrid": {"model_weights": weights}}, "evaluation": {"n_resamples": 100}}
    )


def run_benchmark(folder: Path, config: TrainingConfig, *models: str, **given: Any) -> dict[str, Any]:
    files = BenchmarkFiles(folder / "toy.train.rating", folder / "toy.test.rating.gz", **given)
    return evaluate_files(files, models, 10, config, lambda _: None)


def test_the_last_line_is_the_results_and_progress_goes_to_standard_error(folder: Path, tmp_path: Path) -> None:
    done = tradewind(
        *("benchmark", "--train", str(folder / "toy.train.rating"), "--test", str(folder / "toy.test.rating.gz")),
        *("--negatives", str(folder / "toy.test.negative"), "--models", "popularity,collaborative_filtering"),
        *("--json", "--output", str(tmp_path / "made" / "report.md")),
        home=tmp_path / "home",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["protocol"].startswith("sampled candidates: 10 negatives a user; comparable with papers only")
    assert found["n_users"] == 24
    assert found["test"] == {"read": 25, "judged": 24, "repeated": 0, "cold_users": 1, "cold_items": 0, "known": 0}
    assert list(found["models"]) == ["popularity", "collaborative_filtering"]
    for metrics in found["models"].values():
        assert set(metrics) >= METRICS
        for metric in METRICS:
            value, low, high = metrics[metric]
            assert 0 <= low <= value <= high <= 1
        assert metrics["fit_seconds"] >= 0
        assert metrics["peak_memory_mb"] > 10
    assert found["models"]["collaborative_filtering"]["ndcg@10"][0] == 1.0  # the only candidate of their colour
    assert found["models"]["popularity"]["ndcg@10"][0] < 0.9
    assert "1 of 1 unknown users" in done.stderr
    assert "| collaborative_filtering |" in (tmp_path / "made" / "report.md").read_text()
    assert not (tmp_path / "home").exists()  # it stores nothing


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--test", "toy.items.csv"], "toy.items.csv: the first line names no user_id"),
        (["--test", "toy.test.rating.gz", "--k", "0"], "--k: got 0; allowed: 1 or more"),
        (["--test", "toy.test.rating.gz", "--models", "ncff"], "unknown model 'ncff'; choose from"),
    ],
)
def test_bad_input_is_a_one_line_error(folder: Path, tmp_path: Path, arguments: list[str], expected: str) -> None:
    given = [
        str(folder / word) if word.startswith("toy") else word for word in ("--train", "toy.train.rating", *arguments)
    ]
    done = tradewind("benchmark", *given, home=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert expected in lines[0]


def test_a_model_that_cannot_be_fitted_is_skipped_and_the_hybrid_is_fitted_without_it(
    folder: Path, quick: TrainingConfig
) -> None:
    found = run_benchmark(folder, quick, "hybrid", "content_based")
    assert list(found["models"]) == ["hybrid"]  # the base models were fitted, but are not reported
    assert found["left_out"] == {"content_based": "needs item features; give --items FILE"}
    assert found["without"] == {"hybrid": ["content_based"]}
    whole = run_benchmark(folder, quick, "hybrid", "content_based", items=folder / "toy.items.csv")
    assert list(whole["models"]) == ["content_based", "hybrid"]
    assert whole["left_out"] == whole["without"] == {}
    assert (
        whole["models"]["content_based"]["hit_rate@10"][0] == 1.0
    )  # the other items of the colour fit into a list of ten
    page = to_markdown(found)
    assert "content_based is skipped: needs item features" in page
    assert "hybrid is fitted without content_based." in page


def test_a_model_above_its_memory_limit_is_skipped_with_the_numbers(folder: Path, quick: TrainingConfig) -> None:
    config = quick.model_copy(update={"fit": FitConfig(max_memory_mb=0.2)})
    found = run_benchmark(folder, config, "popularity", "collaborative_filtering")
    assert list(found["models"]) == ["popularity"]
    assert "collaborative_filtering on 24 users x 20 items would need" in found["left_out"]["collaborative_filtering"]
    with pytest.raises(ConfigurationError, match="no model could be evaluated: collaborative_filtering: "):
        run_benchmark(folder, config, "collaborative_filtering")


def test_a_skipped_hybrid_is_not_reported_without_base_models(folder: Path, quick: TrainingConfig) -> None:
    alone = quick.models.hybrid.model_copy(update={"model_weights": {"content_based": 1.0}})
    config = quick.model_copy(update={"models": quick.models.model_copy(update={"hybrid": alone})})
    found = run_benchmark(folder, config, "popularity", "hybrid")
    assert "hybrid needs popularity and another of" in found["left_out"]["hybrid"]
    assert found["without"] == {}


def test_the_cost_of_a_hybrid_includes_its_base_models(folder: Path, quick: TrainingConfig) -> None:
    found = run_benchmark(folder, quick, "collaborative_filtering", "hybrid")["models"]
    assert found["hybrid"]["fit_seconds"] >= found["collaborative_filtering"]["fit_seconds"] > 0
    assert found["hybrid"]["peak_memory_mb"] >= found["collaborative_filtering"]["peak_memory_mb"]


def test_full_ranking_masks_known_items_unless_users_repeat(folder: Path, quick: TrainingConfig) -> None:
    once = run_benchmark(folder, quick, "popularity")
    assert once["protocol"] == "full ranking over all 20 items of the training data, known items masked"
    assert once["views"] == {}
    again = run_benchmark(folder, quick, "popularity", repeat=True)
    assert again["protocol"].endswith("known items stay")
    assert list(again["views"]) == ["reorder", "discovery"]
    assert again["views"]["reorder"]["popularity"]["ndcg@10"] == [None, None, None]  # no test item is a known item
    assert again["views"]["discovery"]["popularity"]["ndcg@10"] == once["models"]["popularity"]["ndcg@10"]
    json.dumps(again, allow_nan=False)


def test_the_best_model_is_compared_with_each_other_model(folder: Path, quick: TrainingConfig) -> None:
    found = run_benchmark(folder, quick, "popularity", "content_based", items=folder / "toy.items.csv")
    assert (found["comparison"]["metric"], found["comparison"]["best"]) == ("ndcg@10", "content_based")
    other = found["comparison"]["others"]["popularity"]
    assert other["difference"][2] < 0
    assert other["p"] == other["p_holm"] < 0.05
    assert other["verdict"] == "worse"
