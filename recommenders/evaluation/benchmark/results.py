"""The results of a file benchmark, as a dictionary for JSON and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recommenders.evaluation.benchmark.file_benchmark import FileBenchmark
from recommenders.evaluation.cost import Cost
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.statistics.report_values import Values, compared, intervals
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.evaluation.writers import markdown

SKIPPED_ROWS = {"repeated": "repeated", "known": "known from training", "cold_items": "of unknown items"}


@dataclass(frozen=True)
class Outcome:
    """The results so far, while models are fitted and evaluated one after the other."""

    vectors: dict[str, dict[str, dict[str, Values]]] = field(default_factory=dict)  # view -> model -> metric -> (n,)
    costs: dict[str, Cost] = field(default_factory=dict)  # of each evaluated model, with its base models
    skipped: dict[str, str] = field(default_factory=dict)  # model -> reason
    missing: dict[str, list[str]] = field(default_factory=dict)  # ensemble -> base models that it lacks


def task_summary(benchmark: FileBenchmark, k: int) -> dict[str, Any]:
    """The task, its users, and the number of rows of each kind (docs/evaluation.md)."""
    log, task = benchmark.log, benchmark.task
    return {
        "protocol": task.description,
        "n_users": len(task.user_ids),
        "k": k,
        "training": {"rows": len(log), "users": len(log.users), "items": len(log.items)},
        "test": benchmark.test_rows,
        "cold_users": task.cold_users,
        "cold_items": task.cold_items,
        "negatives": benchmark.negatives,
        "order": "given" if benchmark.order_given else "unknown",
        "dated": log.dated,
        "repeat": log.repeat,
    }


def summary_text(summary: Mapping[str, Any]) -> str:
    """The counts of task_summary() as one line."""
    training, test = summary["training"], summary["test"]
    skipped = [f"{test[key]:,} {words}" for key, words in SKIPPED_ROWS.items() if test[key]]
    if test["cold_users"]:
        skipped.insert(0, f"{test['cold_users']:,} of {summary['cold_users']:,} unknown users")
    if summary["negatives"].get("unknown_items"):
        skipped.append(f"and {summary['negatives']['unknown_items']:,} negatives are of unknown items, which rank last")
    return (
        f"{training['rows']:,} events of {training['users']:,} users and {training['items']:,} items, order "
        f"{summary['order']}; {test['read']:,} test rows, skipped: {', '.join(skipped) or 'none'}."
    )


def results(benchmark: FileBenchmark, k: int, outcome: Outcome, config: EvaluationConfig) -> dict[str, Any]:
    """Metrics of models and views, comparison, ceilings, and skipped models (docs/evaluation.md)."""
    metrics: dict[str, dict[str, Any]] = {view: intervals(vectors, config) for view, vectors in outcome.vectors.items()}
    for name, cost in outcome.costs.items():
        metrics["all"][name] |= {"fit_seconds": round(cost.seconds, 3), "peak_memory_mb": round(cost.peak_mb, 1)}
    comparison = compared(outcome.vectors["all"], f"ndcg@{k}", config)
    for other in comparison["others"].values():
        del other["n_users"]  # every user has relevant items here, so it is the number of users above
    highest = ceilings(benchmark.task.relevant, benchmark.task.candidates, k)
    return {
        "models": metrics.pop("all"),
        "views": metrics,
        "comparison": comparison,
        "ceilings": {name: value for name, value in highest.items() if not name.startswith("coverage")},
        "left_out": outcome.skipped,
        "without": outcome.missing,
    }


def to_markdown(found: Mapping[str, Any]) -> str:
    """The summary and the results as Markdown tables."""
    parts = [f"# {found['protocol']}", f"{found['n_users']:,} users evaluated. {summary_text(found)}"]
    parts.append(markdown.metrics_table(found["models"], found["ceilings"]))
    parts += [f"## {view.capitalize()}\n\n" + markdown.metrics_table(rows, {}) for view, rows in found["views"].items()]
    if found["comparison"]["others"]:
        parts.append(markdown.comparison_table(found["comparison"]))
    costs = [
        [name, f"{metrics['fit_seconds']:.1f}", f"{metrics['peak_memory_mb']:,.0f}"]
        for name, metrics in found["models"].items()
    ]
    parts.append(markdown.table(["model", "seconds to fit", "MB at the peak"], costs))
    parts += [f"{name} is skipped: {reason}." for name, reason in found["left_out"].items()]
    parts += [f"{name} is fitted without {', '.join(missing)}." for name, missing in found["without"].items()]
    return "\n\n".join(parts) + "\n"
