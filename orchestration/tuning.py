"""Tunes models of a data set: studies, their runs in MLflow, and the configuration with the best values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import yaml
from optuna.trial import FrozenTrial

from orchestration.settings import Settings
from recommenders.errors import UnsuitableError
from recommenders.evaluation.window_task import window_task
from recommenders.storage.atomic_files import atomic_file
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.plots import plots
from recommenders.training.tuning.study import PRESENT, SECONDS, finished, open_study
from recommenders.training.tuning.tune import Budget, Tuned, tune
from serving.release.registry import PARENT_TAG, Registry

Echo = Callable[[str], None]
STUDY_TAG, TRIAL_TAG = "study", "trial"


@dataclass(frozen=True)
class TuningResult:
    """The results of some models, the reasons of those that were skipped, and the file with the best values."""

    dataset: str
    tuned: tuple[Tuned, ...]
    skipped: Mapping[str, str]
    config: str


def tune_models(
    settings: Settings,
    registry: Registry,
    training: TrainingConfig,
    tables: Mapping[str, pa.Table],
    data_version: str,
    models: Sequence[str],
    budget: Budget,
    echo: Echo,
) -> TuningResult:
    """Tunes the models one after the other, base models before ensembles, and writes the configuration.

    tables: interactions and items. models: names; none: all enabled models. The minutes of the budget are for all
    models together. An ensemble uses the best values of its base models. Raises ConfigurationError, DataError.
    """
    names = training.chosen(models)
    window = window_task(tables["interactions"], tables["items"], settings.spec.protocol, "validation")
    if budget.minutes is not None:
        budget = replace(budget, minutes=budget.minutes / len(names))
    config, tuned, skipped = training, [], {}
    for name in names:
        study = StudyRun(settings, registry, name, budget, echo)
        try:
            found = tune(
                name, config, window, data_version, budget, settings.studies, settings.tuning_folder, study.on_trial
            )
        except UnsuitableError as error:
            echo(f"{name} is skipped: {error}")
            skipped[name] = str(error)
            continue
        study.finish(found)
        config = found.apply(config)
        tuned.append(found)
    path = settings.tuning_folder / "training.yaml"
    _write(config, tuned, settings.dataset, path)
    return TuningResult(settings.dataset, tuple(tuned), skipped, str(path))


def _write(config: TrainingConfig, tuned: Sequence[Tuned], dataset: str, path: Path) -> None:
    """Writes the configuration; its first lines say where the values come from."""
    lines = [f"# The training configuration of {dataset} with the best values of a tuning on the validation window."]
    for one in tuned:
        gain = f"{one.metric} {one.best:.4f}, before {one.present:.4f}" if one.values else "no values were better"
        lines.append(f"# {one.model}: {gain}, {sum(one.trials.values())} trials")
    content = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    with atomic_file(path) as staging:
        staging.write_text("\n".join(lines) + "\n" + content, encoding="utf-8")


def as_markdown(found: TuningResult) -> str:
    """One row for each model."""
    rows = ["| model | before | best | trials | values |", "|---|---|---|---|---|"]
    for one in found.tuned:
        values = ", ".join(f"{key} {_short(value)}" for key, value in one.values.items()) or "as before"
        rows.append(f"| {one.model} | {one.present:.4f} | {one.best:.4f} | {sum(one.trials.values())} | {values} |")
    rows += [f"| {name} | skipped: {reason} | | | |" for name, reason in found.skipped.items()]
    return "\n".join(rows)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass
class StudyRun:
    """The run of a study in MLflow, with one run below it for each trial; and one line for each trial."""

    settings: Settings
    registry: Registry
    model: str
    budget: Budget
    echo: Echo
    _parent: str = ""  # id of the run of the study
    _logged: set[str] | None = None  # numbers of the trials with a run; None: not read yet

    def on_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Reports one trial, and logs all trials that have no run yet: an earlier process may have been killed."""
        done, (metric, total) = finished(study), (self.budget.metric, self.budget.trials)
        value = f"{metric} {trial.value:.4f}" if trial.value is not None else trial.state.name.lower()
        best = max((one.value for one in done if one.value is not None), default=None)
        so_far = f"; best {best:.4f}, present {study.user_attrs[PRESENT]:.4f}" if best is not None else ""
        self.echo(f"{self.model} {len(done)}/{total}: {value} in {trial.user_attrs.get(SECONDS, 0.0):.1f} s{so_far}")
        self._log_missing(study)

    def finish(self, found: Tuned) -> None:
        """Logs the result and the plots to the run of the study."""
        study = open_study(self.settings.studies, found.study)
        self._log_missing(study)
        with self.registry.resume(self._run_id(found.study)) as run:
            run.log_metrics({found.metric: found.best, f"present_{found.metric}": found.present})
            for name, picture in plots(study, found.metric).items():
                run.log_bytes(f"{name}.png", picture)

    def _log_missing(self, study: optuna.Study) -> None:
        parent = self._run_id(study.study_name)
        if self._logged is None:
            below = self.registry.find_runs(self.settings.dataset, {PARENT_TAG: parent})
            self._logged = {tags.get(TRIAL_TAG, "") for tags in below.values()}
        for trial in finished(study):
            if str(trial.number) not in self._logged:
                self._log(trial, parent)
                self._logged.add(str(trial.number))

    def _log(self, trial: FrozenTrial, parent: str) -> None:
        params: dict[str, Any] = {"model": self.model, **trial.params}
        tags = {"stage": "tuning", TRIAL_TAG: str(trial.number), "state": trial.state.name.lower()}
        name = f"{self.model} trial {trial.number}"
        with self.registry.run(self.settings.dataset, name, params, tags, parent) as run:
            for epoch, value in trial.intermediate_values.items():
                run.log(epoch, {"validation": value})
            found = {} if trial.value is None else {self.budget.metric: trial.value}
            run.log_metrics({**found, "seconds": trial.user_attrs.get(SECONDS, 0.0)})

    def _run_id(self, study: str) -> str:
        """The run of the study; created with the first use."""
        if not self._parent:
            known = self.registry.find_runs(self.settings.dataset, {STUDY_TAG: study})
            self._parent = next(iter(known), "") or self._new_run(study)
        return self._parent

    def _new_run(self, study: str) -> str:
        params = {"model": self.model, "sampler": self.budget.sampler, "metric": self.budget.metric}
        tags = {"stage": "tuning", STUDY_TAG: study}
        with self.registry.run(self.settings.dataset, f"tuning of {self.model}", params, tags) as run:
            return run.run_id
