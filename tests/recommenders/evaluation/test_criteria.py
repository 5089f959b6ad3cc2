from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from recommenders.evaluation.criteria import AT_MOST, CRITERIA, MODEL_TARGETS, criteria, met, targets
from recommenders.evaluation.tasks.task import EvaluationConfig

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


@pytest.mark.parametrize("metric", ["ndcg@10", *sorted(AT_MOST)])
def test_a_figure_at_its_target_meets_it_whichever_way_is_better(metric: str) -> None:
    better = -0.1 if metric in AT_MOST else 0.1
    for reached, holds in ((0.5, True), (0.5 + better, True), (0.5 - better, False), (None, None)):
        assert met({"metric": metric, "target": 0.5, "reached": reached}) is holds


def test_the_targets_are_those_of_the_docs() -> None:
    page = PAGE.read_text()
    for name, own in MODEL_TARGETS.items():
        cells = " | ".join(f"{target:.2f}" for target in own.values())
        assert f"| `{name}` | {cells} |" in page
    said = ", ".join(f"{metric} {target:{'.2f' if target < 1 else 'g'}}" for metric, target in CRITERIA.items())
    assert f"The defaults are {said}." in " ".join(page.split())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"ndgc@10": 0.4}, "unknown metric 'ndgc@10'.*ndcg@10"), ({"ndcg@10": np.inf}, "ndcg@10: got inf; allowed: a")],
)
def test_a_target_that_no_report_can_hold_is_refused(wanted: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig(criteria=wanted)
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig(model_targets={"hybrid": wanted})


def test_one_row_a_criterion_and_a_model_with_what_is_possible() -> None:
    found = {"ndcg@10": [0.4, 0.3, 0.5]}
    rows = criteria(found, {"ndcg@10": 1.0}, 7.0, 20.0, "the protocol", "how long", CRITERIA)
    by_metric = {row["metric"]: row for row in rows}
    assert {metric: row["target"] for metric, row in by_metric.items()} == CRITERIA
    assert by_metric["ndcg@10"] == {
        "metric": "ndcg@10",
        "target": CRITERIA["ndcg@10"],
        "reached": 0.4,
        "ceiling": 1.0,
        "protocol": "the protocol",
    }
    assert (by_metric["response_ms"]["reached"], by_metric["response_ms"]["protocol"]) == (7.0, "how long")
    assert by_metric["model_megabytes"]["reached"] == 20.0
    assert (by_metric["recall@10"]["reached"], by_metric["recall@10"]["ceiling"]) == (None, None)
    rows = targets({"hybrid": found, "popularity": found}, {"ndcg@10": 1.0})
    assert {row["model"] for row in rows} == {"hybrid"}
    assert {row["metric"]: row["reached"] for row in rows} == {**dict.fromkeys(MODEL_TARGETS["hybrid"]), "ndcg@10": 0.4}
