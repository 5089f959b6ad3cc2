"""Plots of a study: its history, the importance of each setting, and the values that were tried."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState

from recommenders.training.tuning.study import finished

LEAST = 3  # trials with a value; with fewer an importance says nothing
WIDTH, HEIGHT = 5.0, 4.0  # inches of a panel


def plots(study: optuna.Study, metric: str) -> dict[str, bytes]:
    """Name -> PNG. metric: its name on the axes. Empty with fewer than LEAST trials with a value.

    The importance of a setting is the share of the variance of the metric that it explains (PED-ANOVA, Watanabe et al.
    2023).
    """
    if sum(trial.state is TrialState.COMPLETE for trial in finished(study)) < LEAST:
        return {}
    from optuna.visualization import matplotlib as drawn

    return {
        "history": _png(lambda: drawn.plot_optimization_history(study, target_name=metric)),
        "importance": _png(lambda: drawn.plot_param_importances(study, target_name=metric)),
        "slices": _png(lambda: drawn.plot_slice(study, target_name=metric)),
    }


def _png(draw: Callable[[], Any]) -> bytes:
    """draw: returns the axes, one or an array of them."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    # these functions are marked as experimental, and set a style for all later figures
    with warnings.catch_warnings(), mpl.rc_context({"backend": "Agg"}):
        warnings.simplefilter("ignore")
        axes = draw()
        first = axes.flat[0] if hasattr(axes, "flat") else axes
        figure = first.figure
        figure.set_size_inches(max(8.0, WIDTH * getattr(axes, "size", 1)), HEIGHT)
        figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight")
        plt.close(figure)
    return buffer.getvalue()
