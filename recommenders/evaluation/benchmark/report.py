"""What came out for the models of somebody else's benchmark, for programs and for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recommenders.evaluation.benchmark.files import External
from recommenders.evaluation.cost import Cost
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.figures import Values, compared, intervals
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.evaluation.writers import markdown

SKIPPED = {"repeated": "repeated", "known": "known from training", "cold_items": "of unknown items"}


@dataclass(frozen=True)
class Outcome:
    """Filled while models are fitted and judged one after the other."""

    vectors: dict[str, dict[str, dict[str, Values]]] = field(default_factory=dict)  # view -> model -> metric -> (n,)
    costs: dict[str, Cost] = field(default_factory=dict)  # of each judged model, with all that it is made of
    left_out: dict[str, str] = field(default_factory=dict)  # model -> why
    without: dict[str, list[str]] = field(default_factory=dict)  # blend -> the members it had to do without


def facts(external: External, k: int) -> dict[str, Any]:
    """What is asked, of whom, and where every row went (docs/evaluation.md)."""
    log, case = external.log, external.case
    return {
        "protocol": case.description,
        "n_users": len(case.user_ids),
        "k": k,
        "training": {"rows": len(log), "users": len(log.users), "items": len(log.items)},
        "test": external.test_rows,
        "cold_users": case.cold_users,
        "cold_items": case.cold_items,
        "negatives": external.negatives,
        "order": "given" if external.order_given else "unknown",
        "dated": log.dated,
        "repeat": log.repeat,
    }


def in_words(told: Mapping[str, Any]) -> str:
    """The rows of facts() as one line."""
    training, test = told["training"], told["test"]
    skipped = [f"{test[key]:,} {words}" for key, words in SKIPPED.items() if test[key]]
    if test["cold_users"]:
        skipped.insert(0, f"{test['cold_users']:,} of {told['cold_users']:,} unknown users")
    if told["negatives"].get("unknown_items"):
        skipped.append(f"and {told['negatives']['unknown_items']:,} negatives are unknown, which rank last")
    return (
        f"{training['rows']:,} events of {training['users']:,} users and {training['items']:,} items, order "
        f"{told['order']}; {test['read']:,} test rows, skipped: {', '.join(skipped) or 'none'}."
    )


def figures(external: External, k: int, outcome: Outcome, config: EvaluationConfig) -> dict[str, Any]:
    """Models, views, comparison, ceilings, and who was left out (docs/evaluation.md)."""
    judged: dict[str, dict[str, Any]] = {view: intervals(of, config) for view, of in outcome.vectors.items()}
    for name, cost in outcome.costs.items():
        judged["all"][name] |= {"fit_seconds": round(cost.seconds, 3), "peak_memory_mb": round(cost.peak_mb, 1)}
    comparison = compared(outcome.vectors["all"], f"ndcg@{k}", config)
    for other in comparison["others"].values():
        del other["n_users"]  # nobody is undefined here, so it is the number that stands above
    highest = ceilings(external.case.relevant, external.case.candidates, k)
    return {
        "models": judged.pop("all"),
        "views": judged,
        "comparison": comparison,
        "ceilings": {name: value for name, value in highest.items() if not name.startswith("coverage")},
        "left_out": outcome.left_out,
        "without": outcome.without,
    }


def to_markdown(found: Mapping[str, Any]) -> str:
    """Facts and figures as tables."""
    parts = [f"# {found['protocol']}", f"{found['n_users']:,} users judged. {in_words(found)}"]
    parts.append(markdown.metrics_table(found["models"], found["ceilings"]))
    parts += [f"## {view.capitalize()}\n\n" + markdown.metrics_table(of, {}) for view, of in found["views"].items()]
    if found["comparison"]["others"]:
        parts.append(markdown.comparison_table(found["comparison"]))
    costs = [
        [name, f"{metrics['fit_seconds']:.1f}", f"{metrics['peak_memory_mb']:,.0f}"]
        for name, metrics in found["models"].items()
    ]
    parts.append(markdown.table(["model", "seconds to fit", "MB at the peak"], costs))
    parts += [f"{name} is left out: {why}." for name, why in found["left_out"].items()]
    parts += [f"{name} goes on without {', '.join(absent)}." for name, absent in found["without"].items()]
    return "\n\n".join(parts) + "\n"
