"""The base class of all models: fitting, scoring, top-k lists, explanations, and saving to a bundle."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommenders.errors import BundleError, ModelTooLargeError, NotFittedError
from recommenders.events.context import FittedContext, HasContext
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.ranked import Ranked, mask_and_rank
from recommenders.models.calibration import Calibration
from recommenders.models.search_space import SearchSpace
from recommenders.storage import bundle
from recommenders.storage.bundle import Bundle

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

LONGEST_LIST = 100
BLOCK = 512  # users scored at once: (512, n_items) float32 is the largest dense array in memory


# gets the number of an epoch and its point of the learning curve; returns true to end training there, with the best
# epoch so far. An error that it raises ends the fit without a model.
EpochCallback = Callable[[int, dict[str, float]], bool | None]


class ModelConfig(BaseModel):
    """The settings that all models have. Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="Whether the model is trained.")
    seed: int = Field(
        default=42, description="Seed of the random draws of a fit. If this key is not set, `data.seed` is used."
    )
    search_space: ClassVar[SearchSpace] = {}  # of a tuning, by default


@dataclass(frozen=True)
class TrainingOptions:
    """How a fit runs. It does not change what is learned, unless a limit or the callback ends a training early."""

    threads: int | None = None  # None: the number that suits each model
    max_memory_mb: float = 4000.0  # a fit that is estimated to need more is refused
    max_minutes: float = 5.0  # of the training of a network; the best epoch so far is kept
    checkpoints: Path | None = None  # folder, one file per model, from which an interrupted training continues
    on_epoch: EpochCallback | None = None

    def report(self, epoch: int, metrics: dict[str, float]) -> bool:
        """Calls the callback with a point of the learning curve. Returns whether training is to stop."""
        return self.on_epoch is not None and bool(self.on_epoch(epoch, metrics))


DEFAULT_OPTIONS = TrainingOptions()


class Reason(NamedTuple):
    """An item of the history. Without it, the score of the recommended item is lower by `drop`."""

    item_column: int
    drop: float


class Recommender(HasContext, ABC):
    """The base class. A user is a row of the training log (-1: cold-start user) and a history (events in order).

    A model that cannot use one of the two ignores it. Fitted attributes end in an underscore.
    """

    name: ClassVar[str]
    Config: ClassVar[type[ModelConfig]] = ModelConfig
    handles_new_users: ClassVar[bool] = True  # ranks for users without training data, by their history
    handles_new_items: ClassVar[bool] = False  # ranks items that no user has bought
    uses_features: ClassVar[bool] = False
    expensive_to_fit: ClassVar[bool] = False  # fitting takes minutes; that of other models takes seconds
    block: ClassVar[int] = BLOCK  # users whose lists are computed together
    ranks_candidates: ClassVar[bool] = False  # recommend() ranks candidate items only; score() covers all items

    def __init__(self, config: ModelConfig | None = None) -> None:
        self.config = config or self.Config()
        self.provenance: dict[str, Any] = {}
        self.learning_curve: list[dict[str, float]] = []
        # the models in this model's bundle: the base models of an ensemble, or the popularity that is served beside it
        self.base_models_: dict[str, Recommender] = {}
        self.calibration_: Calibration | None = None  # of its scores; None: not calibrated

    # -- fitting

    def fit(
        self,
        interactions: Interactions,
        features: "ItemFeatures | None" = None,
        options: TrainingOptions = DEFAULT_OPTIONS,
    ) -> Self:
        """Fits the model to the log and returns it. The rows of `features` are in the order of interactions.items.

        Raises ModelTooLargeError, before it allocates memory, if fitting needs more than options.max_memory_mb.
        """
        needed = self.memory_needed(interactions) / 1e6
        if needed > options.max_memory_mb:
            raise ModelTooLargeError(self.name, interactions.shape, needed, options.max_memory_mb)
        self._store_context(interactions)
        self._fit(interactions, features, options)
        return self

    def refit(
        self,
        interactions: Interactions,
        features: "ItemFeatures | None" = None,
        options: TrainingOptions = DEFAULT_OPTIONS,
    ) -> Self:
        """A new model of the same configuration, fitted on another log. It keeps what fitting chose on validation data.

        This is the number of epochs of a network, the rankers of a hybrid, and the calibration. Raises as fit() does.
        """
        model = type(self)(self._refit_config()).fit(interactions, features, options)
        model.calibration_ = model.calibration_ or self.calibration_
        return model

    def _refit_config(self) -> ModelConfig:
        """The configuration with what fitting chose."""
        return self.config

    def _store_context(self, interactions: Interactions) -> None:
        self.context_ = FittedContext.from_log(interactions)
        self.provenance["data_version"] = interactions.version

    def memory_needed(self, interactions: Interactions) -> float:
        """Bound of the bytes for fitting and scoring, besides the log: here a few copies of it, a block of scores."""
        return 64.0 * len(interactions) + 12.0 * BLOCK * len(interactions.items)

    @abstractmethod
    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None: ...

    # -- scoring

    @property
    def scores_catalogue_cheaply(self) -> bool:
        """Whether scoring all items costs little more than scoring a few: then hybrid_learned lets it propose items."""
        return True

    @property
    def longest_list(self) -> int:
        """The length up to which each beginning of a list is the list of that length."""
        return LONGEST_LIST

    @abstractmethod
    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """Returns the score of each user and item, (n, n_items): finite, larger is better.

        user_rows: (n,), -1 for cold-start users. histories: (n, n_items), all known events of each user. For a user of
        the training log they include the events of that log.
        """

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Returns the scores of some items for each user; item_columns and the result are (n, m)."""
        return np.take_along_axis(self.score(user_rows, histories), item_columns.astype(np.int64), axis=1)

    def recommend(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_] | None = None,
        exclude_known: bool | None = None,
        eligible: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """Returns the k best items of each user. At most one block of users x items is in memory.

        candidates: (n_items,), by default the available items. exclude_known leaves out the items of the history; by
        default it is True where users do not buy items again. eligible: (n_items,), the candidates that may be in the
        list, by default all. It changes no score: the list is that of all candidates without the others.
        """
        self._check_fitted()
        candidates = self.available_ if candidates is None else candidates
        eligible = candidates if eligible is None else candidates & eligible
        exclude_known = not self.repeat_ if exclude_known is None else exclude_known
        rest = (k, candidates, exclude_known, eligible)
        if 0 < len(user_rows) <= self.block:
            return self._recommend_block(user_rows, histories, *rest)
        ranked = [
            self._recommend_block(user_rows[block], histories[block], *rest) for block in self._blocks(len(user_rows))
        ]
        if not ranked:
            return Ranked(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
        return Ranked(*(np.concatenate(parts) for parts in zip(*ranked, strict=True)))

    def _blocks(self, n: int) -> list[slice]:
        """Slices of the users whose lists are computed together."""
        return [slice(start, start + self.block) for start in range(0, n, self.block)]

    def _recommend_block(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_],
        exclude_known: bool,
        eligible: NDArray[np.bool_],
    ) -> Ranked:
        """recommend() for one block of users, without defaults."""
        scores = self.score(user_rows, histories)
        return mask_and_rank(scores, k, eligible, histories.matrix if exclude_known else None)

    def covers(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Whether the model can rank for each user, (n,). Most models need a history. Ensembles use this."""
        return np.asarray(histories.counts > 0)

    def explain(self, history: Histories, item_column: int, n_reasons: int = 3) -> list[Reason]:
        """Returns the items of a history (1, n_items) without which the item's score falls most (leave-one-out)."""
        return self.explain_all(history, [item_column], n_reasons)[0]

    def explain_all(self, history: Histories, item_columns: Sequence[int], n_reasons: int = 3) -> list[list[Reason]]:
        """Returns the reasons for many items of a list; largest first, drops > 0 only."""
        known, drops = history.known_items.item_columns, self.drops(history, item_columns)
        best = np.argsort(-drops, axis=0, kind="stable")[:n_reasons]
        return [
            [Reason(int(known[i]), float(drops[i, j])) for i in best[:, j] if drops[i, j] > 0]
            for j in range(len(item_columns))
        ]

    def drops(self, history: Histories, item_columns: Sequence[int]) -> NDArray[np.float32]:
        """(n_known, m): how much each item's score falls without each of a history's known_items (leave-one-out)."""
        known = history.known_items.item_columns
        left_out = np.append(known, -1)  # row i leaves item i out, the last row none
        repeated = history[np.zeros(len(left_out), dtype=np.int64)]
        variants = repeated.select(repeated.item_columns != left_out[repeated.rows])
        columns = np.broadcast_to(np.asarray(item_columns, dtype=np.int32), (len(left_out), len(item_columns)))
        scores = self.score_items(np.full(len(left_out), -1, dtype=np.int32), variants, columns)
        return np.asarray(scores[-1] - scores[:-1])

    # -- on disk

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fitted parameters, as named arrays."""

    @abstractmethod
    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""

    def to_bundle(self) -> Bundle:
        """What the model has learned, without its context. An ensemble stores the context of its base models once."""
        calibration = self.calibration_.arrays() if self.calibration_ else {}
        return Bundle(self.name, self.config.model_dump(), self.arrays() | calibration, self.provenance)

    def save(self, folder: Path, shared_context: bool = False) -> Path:
        """Writes the model as a bundle; returns the folder. By default the folder alone is the whole model.

        shared_context: ids and histories are written to folder.parent/contexts, where the bundles of all models that
        are fitted on one log share them (bundle.write_shared).
        """
        self._check_fitted()
        own, base_models, context = self.to_bundle(), self.base_model_bundles(), self.context_.arrays()
        if shared_context:
            return bundle.write_shared(folder, own, base_models, context)
        return bundle.write(folder, own, base_models, context)

    def base_model_bundles(self) -> dict[str, Bundle]:
        """The bundle of each base model. Their context is that of this model."""
        return {name: model.to_bundle() for name, model in self.base_models_.items()}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Loads a model from a bundle and checks each file against its hash. Raises BundleError.

        Models whose bundles have one context share one object of it in memory.
        """
        content = bundle.read(folder)
        if content.model != cls.name:
            raise BundleError(
                f"{folder} holds a {content.model}, not a {cls.name}; use recommenders.models.all_models.load"
            )
        try:
            model = cls(cls.Config(**content.config))
            model.provenance = content.provenance
            model.context_ = FittedContext.load(folder, content.context)
            model.calibration_, arrays = Calibration.split(content.arrays)
            model._restore(folder, replace(content, arrays=arrays))
        except (KeyError, ValidationError) as error:
            cause = " ".join(str(error).split())
            raise BundleError(f"{folder} is not a bundle of this version's {cls.name}: {cause}; train anew") from error
        return model

    def _restore(self, folder: Path, content: Bundle) -> None:
        self.restore(content.arrays)

    def _check_fitted(self) -> None:
        if not hasattr(self, "context_"):
            raise NotFittedError(self.name)
