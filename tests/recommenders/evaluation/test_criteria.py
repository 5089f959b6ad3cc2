from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from recommenders.evaluation.criteria import CRITERIA, LOWER_IS_BETTER, MODEL_TARGETS, criteria, met, targets
from recommenders.evaluation.tasks.task import EvaluationConfig

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


@pytest.mark.parametrize("metric", ["ndcg@10", *sorted(LOWER_IS_BETTER)])
def test_a_value_at_its_target_meets_it_in_both_directions(metric: str) -> None:
    gain = -0.1 if metric in LOWER_IS_BETTER else 0.1
    for reached, holds in ((0.5, True), (0.5 + gain, True), (0.5 - gain, False), (None, None)):
        assert met({"metric": metric, "target": 0.5, "reached": reached}) is holds


def test_the_targets_are_those_of_the_docs() -> None:
    page = PAGE.read_text()
    for name, own in MODEL_TARGETS.items():
        cells = " | ".join(f"{target:.2f}" for target in own.values())
        assert f"| `{name}` | {cells} |" in page
    defaults = ", ".join(f"{metric} {target:{'.2f' if target < 1 else 'g'}}" for metric, target in CRITERIA.items())
    assert f"The defaults are {defaults}." in " ".join(page.split())


@pytest.mark.parametrize(
    ("given", "message"),
    [({"ndgc@10": 0.4}, "unknown metric 'ndgc@10'.*ndcg@10"), ({"ndcg@10": np.inf}, "ndcg@10: got inf; allowed: a")],
)
def test_an_unknown_metric_or_infinite_target_is_an_error(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig(criteria=given)
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig(model_targets={"hybrid": given})


def test_there_is_one_row_per_criterion_and_per_target_with_its_ceiling() -> None:
    found = {"ndcg@10": [0.4, 0.3, 0.5]}
    rows = criteria(found, {"ndcg@10": 1.0}, 7.0, 20.0, "the protocol", "the latency", CRITERIA)
    by_metric = {row["metric"]: row for row in rows}
    assert {metric: row["target"] for metric, row in by_metric.items()} == CRITERIA
    assert by_metric["ndcg@10"] == {
        "metric": "ndcg@10",
        "target": CRITERIA["ndcg@10"],
        "reached": 0.4,
        "ceiling": 1.0,
        "protocol": "the protocol",
    }
    assert (by_metric["response_ms"]["reached"], by_metric["response_ms"]["protocol"]) == (7.0, "the latency")
    assert by_metric["model_megabytes"]["reached"] == 20.0
    assert (by_metric["recall@10"]["reached"], by_metric["recall@10"]["ceiling"]) == (None, None)
    rows = targets({"hybrid": found, "popularity": found}, {"ndcg@10": 1.0})
    assert {row["model"] for row in rows} == {"hybrid"}
    assert {row["metric"]: row["reached"] for row in rows} == {**dict.fromkeys(MODEL_TARGETS["hybrid"]), "ndcg@10": 0.4}
