"""The asset that tunes models on the validation window. No retraining materialises it: it takes far longer."""

import dagster as dg
import pyarrow as pa
from pydantic import Field

from orchestration.assets.metadata import PROGRESS, picture, show
from orchestration.io_manager import Lake
from orchestration.jobs import EXPERIMENTS
from orchestration.resources import Datasets
from orchestration.tuning import TuningResult, as_markdown, tune_models
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.plots import plots
from recommenders.training.tuning.study import open_study
from recommenders.training.tuning.tune import Budget
from serving.release.registry import Registry


class TuningOptions(dg.Config):
    """What a tuning tries, as in `tradewind tune`."""

    models: list[str] = Field(default=[], description="Model names; none: all enabled models.")
    sampler: str = Field(default="bayesian", description="bayesian, random or grid.")
    trials: int = Field(default=30, description="Number of trials of each model.")
    minutes: float | None = Field(default=60.0, description="Time for all models together; null: no limit.")
    metric: str = Field(default=PRIMARY_METRIC, description="What is compared on the validation window.")
    workers: int = Field(default=1, description="Number of trials at the same time.")
    seed: int = Field(default=42, description="Of the values that are tried.")

    def budget(self) -> Budget:
        """Raises ConfigurationError."""
        return Budget(self.sampler, self.trials, self.minutes, self.metric, self.workers, self.seed)  # type: ignore[arg-type]


@dg.asset(group_name=EXPERIMENTS, kinds={"mlflow"})
def tuning(
    context: dg.AssetExecutionContext,
    config: TuningOptions,
    lake: dg.ResourceParam[Lake],
    datasets: dg.ResourceParam[Datasets],
    training: dg.ResourceParam[TrainingConfig],
    registry: dg.ResourceParam[Registry],
    interactions: pa.Table,
    items: pa.Table,
) -> TuningResult:
    """Better settings of models, by trials on the validation window; a further run of the same budget continues.

    The page names a configuration file with the best values. It changes no training until it is given to one.
    """
    name = context.partition_key
    settings, version = datasets[name].settings, lake.table_version(name)

    def echo(line: str) -> None:
        context.log.info(f"{PROGRESS}{line}")

    tables = {"interactions": interactions, "items": items}
    found = tune_models(
        settings, registry, training, tables, version.data_version, config.models, config.budget(), echo
    )
    pictures = {}
    for one in found.tuned:
        for what, png in plots(open_study(settings.studies, one.study), one.metric).items():
            pictures[f"{one.model} {what}"] = picture(png, f"{what} of the trials of {one.model}")
    table = dg.MetadataValue.md(as_markdown(found))
    runs = dg.MetadataValue.url(registry.experiment_url(name))
    file = dg.MetadataValue.path(found.config)
    show(context, {"best values": table, "configuration": file, "mlflow": runs, **pictures})
    return found
