"""The base class of ensembles: fits base models, saves them in its bundle and loads them."""

import contextlib
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.content_based import ContentBased
from recommenders.models.ease import EASE
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import DEFAULT_OPTIONS, Recommender, TrainingOptions
from recommenders.storage.bundle import Bundle

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

LOG = logging.getLogger(__name__)


class Ensemble(Recommender):
    """A model that combines base models. Popularity is always one of them, for users without other data.

    fit() fits the base models with their default configurations. The platform uses the configurations of a training
    file: training.fit_with_base_models, or fit_from() with base models that are already fitted.
    """

    handles_new_items: ClassVar[bool] = True
    uses_features: ClassVar[bool] = True
    # One user at a time, as in the service. In a block the base models sum in another order, so items whose scores
    # differ only by rounding would change places between the evaluated and the served lists.
    block: ClassVar[int] = 1

    skipped_: dict[str, str]  # base model that fit() skipped -> reason; not stored in the bundle

    @property
    def scores_catalogue_cheaply(self) -> bool:
        """Never: it scores the catalogue with each base model."""
        return False

    @abstractmethod
    def base_model_names(self) -> list[str]:
        """The names of the base models, with popularity."""

    def required_models(self, interactions: Interactions) -> list[str]:
        """The names of the base models that the ensemble uses on this log."""
        return self.base_model_names()

    def fit_from(
        self,
        base_models: Mapping[str, Recommender],
        interactions: Interactions,
        features: "ItemFeatures | None" = None,
        options: TrainingOptions = DEFAULT_OPTIONS,
    ) -> Self:
        """Fits the ensemble from base models that are fitted on these interactions. It does without missing ones.

        Raises UnsuitableError if popularity is missing, or if popularity is the only one given.
        """
        self._set_base_models(base_models, interactions)
        self._fit_top(interactions, features, options)
        return self

    def _set_base_models(self, base_models: Mapping[str, Recommender], interactions: Interactions) -> None:
        """Raises UnsuitableError as fit_from() does."""
        required = self.required_models(interactions)
        present = {name: base_models[name] for name in required if name in base_models}
        if Popularity.name not in present or (len(present) < 2 and len(self.base_model_names()) > 1):
            needed, got = ", ".join(required), ", ".join(sorted(base_models)) or "none"
            unused = ", ".join(name for name in self.base_model_names() if name not in required)
            instead = f", or set models.{self.name}.n_windows: 1 to use {unused}" if unused else ""
            raise UnsuitableError(
                f"{self.name} needs popularity and another of {needed}; got {got}; enable some{instead}"
            )
        self._store_context(interactions)
        self.base_models_ = present

    def _fit_top(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        """Fits what the ensemble learns on top of its base models. A weighted sum with fixed weights learns nothing."""

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        from recommenders.models.all_models import model_class

        base_models = {}
        self.skipped_ = {}
        for name in self.required_models(interactions):
            try:
                base_models[name] = model_class(name)().fit(interactions, features, options)
            except UnsuitableError as error:  # fit_from() raises if too few are left
                self.skipped_[name] = str(error)
                LOG.warning("%s skips %s: %s", self.name, name, error)
        self.fit_from(base_models, interactions, features, options)

    def refit(
        self,
        interactions: Interactions,
        features: "ItemFeatures | None" = None,
        options: TrainingOptions = DEFAULT_OPTIONS,
    ) -> Self:
        """Refits the base models and then the ensemble. Base models that cannot be refitted are skipped."""
        base_models = {}
        for name, base_model in self.base_models_.items():
            with contextlib.suppress(UnsuitableError):
                base_models[name] = base_model.refit(interactions, features, options)
        model = type(self)(self._refit_config())
        model._set_base_models(base_models, interactions)
        model._refit_top(self, interactions, features, options)
        model.calibration_ = model.calibration_ or self.calibration_
        return model

    def _refit_top(
        self, fitted: Self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions
    ) -> None:
        """As _fit_top(), but takes over what an ensemble of the same configuration chose on an earlier log."""
        self._fit_top(interactions, features, options)

    def covers(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Whether any base model except popularity can rank for each user, (n,)."""
        covered = np.zeros(len(user_rows), dtype=np.bool_)
        for name, model in self.base_models_.items():
            if name != Popularity.name:
                covered |= model.covers(user_rows, histories)
                if covered.all():
                    break
        return covered

    @abstractmethod
    def contributions(
        self,
        user_row: int,
        history: Histories,
        item_columns: NDArray[np.int32],
        candidates: NDArray[np.bool_],
        exclude_known: bool,
        k: int,
    ) -> dict[str, NDArray[np.float64]]:
        """Source -> its part of the score of some items, (m,) each. A source is a base model, or a kind of feature.

        The parts of an item add up to its score in recommend() with these arguments; with k = 0 to that of
        score_items() if `candidates` are the available items, and exclude_known is the default of recommend().
        """

    def influence(self, history: Histories, item_columns: Sequence[int]) -> NDArray[np.float32]:
        """(n_known, m): a fast estimate of the order of drops(), from the base models whose score is a sum over items.

        An item that is itself in the history has 1 more: without its own events it nearly always falls most.
        """
        known, wanted = history.known_items.item_columns, np.asarray(item_columns)
        found: NDArray[np.float32] = (known[:, None] == wanted[None, :]).astype(np.float32)
        for model in self.base_models_.values():
            if isinstance(model, ContentBased | EASE):
                parts = model.drops(history, item_columns)
                found += parts / np.float32(max(float(parts.max(initial=0.0)), 1e-9))
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Empty, unless the ensemble itself has fitted parameters."""
        return {}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""

    def _restore(self, folder: Path, content: Bundle) -> None:
        from recommenders.models.all_models import load_base_models

        self.base_models_ = load_base_models(folder, content.base_models, self.context_)
        self.restore(content.arrays)
