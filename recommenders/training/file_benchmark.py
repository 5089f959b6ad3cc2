"""A benchmark of files from end to end: models fitted one after the other, each judged as soon as it stands."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recommenders.errors import ConfigurationError, NoFeaturesError
from recommenders.evaluation.benchmark.files import External, Files
from recommenders.evaluation.benchmark.report import Outcome, facts, figures, in_words
from recommenders.evaluation.cost import Cost, measure
from recommenders.models.catalog import MODELS
from recommenders.models.ensembles.ensemble import Composed
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_model, members_of

Say = Callable[[str], None]

NEEDS_ITEMS = "learns from what is known of items; give --items FILE"


def evaluate_files(files: Files, asked: Sequence[str], k: int, config: TrainingConfig, say: Say) -> dict[str, Any]:
    """The benchmark's figures, ready for JSON (docs/evaluation.md); what happens meanwhile goes to `say`.

    Raises DataError for files that cannot be read, ConfigurationError if no model could be fitted.
    """
    started = time.perf_counter()
    external = files.read(config.evaluation.seed)
    told = facts(external, k)
    say(f"Read in {time.perf_counter() - started:.1f} s: {in_words(told)}\n{told['protocol']}")
    contest = Contest(config, external, k, say)
    contest.run(asked)
    if not contest.outcome.vectors:
        why = "; ".join(f"{name}: {reason}" for name, reason in contest.outcome.left_out.items())
        raise ConfigurationError(f"no model could be judged: {why}")
    found = figures(external, k, contest.outcome, config.evaluation)
    return told | found | {"seconds": round(time.perf_counter() - started, 3)}


@dataclass
class Contest:
    """A model stays in memory only as long as a blend to come needs it."""

    config: TrainingConfig
    external: External
    k: int
    say: Say
    outcome: Outcome = field(default_factory=Outcome)
    fitted: dict[str, Recommender] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)  # of each alone

    def run(self, asked: Sequence[str]) -> None:
        """Fits and judges the models asked for; what a blend of them needs is fitted too."""
        wanted = {*asked, *(part for name in asked for part in self._parts(name))}
        waiting = [name for name in MODELS if name in wanted]
        while waiting:
            name = waiting.pop(0)
            self._fit(name)
            if name in asked and name in self.fitted:
                self._judge(name)
            needed = {member for blend in waiting for member in members_of(blend, self.config, self.external.log)}
            self.fitted = {kept: model for kept, model in self.fitted.items() if kept in needed}

    def _parts(self, name: str) -> set[str]:
        """All models that must stand before this one can, members of members too."""
        members = members_of(name, self.config, self.external.log)
        return {*members, *(part for member in members for part in self._parts(member))}

    def _cost(self, name: str) -> Cost:
        """What the model cost, with everything it came to be made of, each part once."""
        return self.costs[name].after([self.costs[part] for part in _made_of(self.fitted[name])])

    def _fit(self, name: str) -> None:
        log, features = self.external.log, self.external.features
        try:
            model, self.costs[name] = measure(lambda: fit_model(name, self.config, log, self.fitted, features))
        except ConfigurationError as error:
            reason = NEEDS_ITEMS if isinstance(error, NoFeaturesError) else str(error)
            self.outcome.left_out[name] = reason
            self.say(f"  - {name} is left out: {reason}")
            return
        self.fitted[name] = model
        if isinstance(model, Composed) and (absent := [m for m in model.wanted() if m not in model.members_]):
            self.outcome.without[name] = absent
        cost = self._cost(name)
        self.say(f"  + {name}: fitted in {cost.seconds:.1f} s, {cost.peak_mb:,.0f} MB at the peak")

    def _judge(self, name: str) -> None:
        self.outcome.costs[name] = self._cost(name)
        for view, found in self.external.judge(self.fitted[name], self.k).items():
            self.outcome.vectors.setdefault(view, {})[name] = found


def _made_of(model: Recommender) -> set[str]:
    """Members and their members, by name; those that a blend has left aside are none."""
    if not isinstance(model, Composed):
        return set()
    return set(model.members_).union(*(_made_of(member) for member in model.members_.values()))
