"""Renders the results of a cross-validation as Markdown."""

from recommenders.evaluation.fold_report import CrossValidation
from recommenders.evaluation.writers.markdown import accuracy, comparison_table, number, table, with_interval
from recommenders.metrics.ranking import PRIMARY_METRIC


def render_folds(found: CrossValidation) -> str:
    """The page: all folds together, the comparison, each fold, and what was skipped."""
    head = (
        f"{found.protocol[:1].upper()}{found.protocol[1:]}. {len(found.folds)} folds, {found.n_users:,} users. Only "
        f"events up to {found.cut}, when the test window begins, are used. Intervals are 95 % bootstraps over users."
    )
    sections = [f"# Cross-validation of {found.dataset or 'a log'}, {found.plan.scheme}", head]
    if found.pooled:
        sections.append(f"## All folds\n\n{pooled_table(found)}")
        sections.append(
            "Means over users; a user in several folds counts once, with the mean of these folds. Last column: mean "
            f"and standard deviation of {PRIMARY_METRIC} over the folds."
        )
    if found.comparison.get("others"):
        sections.append(comparison_table(found.comparison))
    sections.append(f"## Folds\n\n{folds_table(found)}")
    if left_out := skipped_lines(found):
        sections.append("## Skipped models\n\n" + "\n".join(left_out))
    return "\n\n".join(sections) + "\n"


def pooled_table(found: CrossValidation) -> str:
    """One row per model that was fitted in every fold: its accuracy over all folds."""
    metrics = [metric for metric in next(iter(found.pooled.values())) if accuracy(metric)]
    rows = [
        [
            name,
            *(with_interval(values[m]) for m in metrics),
            " ± ".join(number(value) for value in found.across_folds[name][PRIMARY_METRIC]),
        ]
        for name, values in found.pooled.items()
    ]
    return table(["model", *metrics, f"{PRIMARY_METRIC} of the folds"], rows)


def folds_table(found: CrossValidation) -> str:
    """One row per fold and model."""
    metrics = [m for m in next(values for fold in found.folds for values in fold.models.values()) if accuracy(m)]
    rows = [
        [
            f"{place}, {fold.name}",
            f"{fold.n_users:,}",
            f"{fold.n_left_out:,}",
            f"{fold.n_training_events:,}",
            name,
            *(with_interval(values[m]) for m in metrics),
            f"{fold.fit_seconds[name]:.1f}",
        ]
        for place, fold in enumerate(found.folds, 1)
        for name, values in fold.models.items()
    ]
    return table(["fold", "users", "left out", "training events", "model", *metrics, "s to fit"], rows)


def skipped_lines(found: CrossValidation) -> list[str]:
    """One line per model and reason, with the folds."""
    folds: dict[tuple[str, str], list[int]] = {}
    for place, fold in enumerate(found.folds, 1):
        for name, reason in fold.skipped.items():
            folds.setdefault((name, reason), []).append(place)
    return [
        f"- {name}, fold {', '.join(map(str, places))} of {len(found.folds)}: {reason}"
        for (name, reason), places in folds.items()
    ]
