"""The contract every model keeps, and what all of them share: ids, masks, the top k, explanations, bundles."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.sparse import csr_array

from recommenders.errors import BundleError, ModelTooLargeError, NotFittedError
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import SalePeriods, pack_periods, unpack_periods
from recommenders.math.top_k import top_k
from recommenders.storage import bundle
from recommenders.storage.bundle import Bundle

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

BLOCK = 512  # users scored at once: (512, n_items) float32 is the largest dense array held


CONTEXT = ("users_", "items_", "histories_", "available_", "sale_periods_", "repeat_", "dated_", "as_of_")


class ModelConfig(BaseModel):
    """What every model can be told. Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    seed: int = 42
    max_memory_mb: float = Field(default=4000.0, gt=0)  # a model that would need more for fitting declines


class Tracker(Protocol):
    """Where training reports to; MLflow stands behind it in the platform, nothing at all in a script."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One point of the learning curve."""

    @property
    def checkpoints(self) -> Path | None:
        """The folder where a network keeps what it needs to go on after it was cut, one file a model; or None."""


class Ranked(NamedTuple):
    """Lists, best first: item columns (n_users, k) int32, -1 past the last; scores (n_users, k), -inf there."""

    item_columns: NDArray[np.int32]
    scores: NDArray[np.float32]


class Reason(NamedTuple):
    """Without this item of the history, the recommended one would lose `drop` of its score."""

    item_column: int
    drop: float


class Recommender(ABC):
    """One model. A buyer is a row of the training log (-1 for a stranger) and a history (events in order).

    A model that cannot use one of the two ignores it. Learned attributes end in an underscore.
    """

    name: ClassVar[str]
    Config: ClassVar[type[ModelConfig]] = ModelConfig
    handles_new_users: ClassVar[bool] = True  # ranks by history alone
    handles_new_items: ClassVar[bool] = False  # ranks items nobody has bought
    uses_features: ClassVar[bool] = False
    scans_cheaply: ClassVar[bool] = True  # scoring every item costs little more than scoring a few
    dear_to_fit: ClassVar[bool] = False  # minutes, where others take seconds
    block: ClassVar[int] = BLOCK  # users whose lists are made together
    ranks_candidates: ClassVar[bool] = False  # recommend() looks at candidates only, where score() would at all items

    users_: IdMap
    items_: IdMap
    histories_: Histories  # (n_users, n_items): all that was learned from
    available_: NDArray[np.bool_]  # (n_items,)
    sale_periods_: SalePeriods | None  # what is on sale when, where any date is known
    repeat_: bool
    dated_: bool  # whether ages of events mean something (Interactions.dated)
    as_of_: int  # microseconds since 1970, UTC: the newest event, which is "now" for every answer

    def __init__(self, config: ModelConfig | None = None) -> None:
        self.config = config or self.Config()
        self.provenance: dict[str, Any] = {}
        self.learning_curve: list[dict[str, float]] = []

    # -- learning

    def fit(
        self, interactions: Interactions, features: "ItemFeatures | None" = None, tracker: Tracker | None = None
    ) -> Self:
        """Learns from the log. `features` rows follow interactions.items.

        Raises ModelTooLargeError before anything is allocated if fitting would need more than config.max_memory_mb.
        """
        needed = self.memory_needed(interactions) / 1e6
        if needed > self.config.max_memory_mb:
            raise ModelTooLargeError(self.name, interactions.shape, needed, self.config.max_memory_mb)
        self._remember(interactions)
        self._fit(interactions, features, tracker)
        return self

    def refit_config(self) -> ModelConfig:
        """What to fit the same recipe with on another log: what fitting has found out need not be found again."""
        return self.config

    def _remember(self, interactions: Interactions) -> None:
        self.users_, self.items_ = interactions.users, interactions.items
        self.histories_ = interactions.histories()
        self.available_, self.repeat_, self.dated_ = interactions.available, interactions.repeat, interactions.dated
        self.sale_periods_ = interactions.sale_periods
        self.as_of_ = int(interactions.timestamps.max(initial=0))
        self.provenance["data_version"] = interactions.version

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes that fitting and answering take at most, beside the log: here a few copies of it, a block of scores."""
        return 64.0 * len(interactions) + 12.0 * BLOCK * len(interactions.items)

    def share_context(self, other: "Recommender") -> None:
        """Takes over what another model remembers of the log they both learned from."""
        for name in CONTEXT:
            setattr(self, name, getattr(other, name))

    @abstractmethod
    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None: ...

    # -- answering

    @abstractmethod
    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """How much each buyer is expected to want each item; returns (n, n_items), finite, larger is better.

        user_rows: (n,), -1 for strangers. histories: (n, n_items), all that is known of each buyer, what the log knows
        of a known one included.
        """

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The same scores for some items of each buyer; item_columns and the result are (n, m)."""
        return np.take_along_axis(self.score(user_rows, histories), item_columns.astype(np.int64), axis=1)

    def recommend(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_] | None = None,
        exclude_known: bool | None = None,
    ) -> Ranked:
        """The k best items of each buyer, never holding more than a block of users x items.

        candidates: (n_items,), by default the available ones. exclude_known masks the items of the history; by
        default where buyers do not come back to items they know.
        """
        self._check_fitted()
        candidates = self.available_ if candidates is None else candidates
        exclude_known = not self.repeat_ if exclude_known is None else exclude_known
        ranked = [
            self._recommend_block(user_rows[block], histories[block], k, candidates, exclude_known)
            for block in self._blocks(len(user_rows))
        ]
        if not ranked:
            return Ranked(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
        return Ranked(*(np.concatenate(parts) for parts in zip(*ranked, strict=True)))

    def _blocks(self, n: int) -> list[slice]:
        """The users whose lists are made together."""
        return [slice(start, start + self.block) for start in range(0, n, self.block)]

    def _recommend_block(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_],
        exclude_known: bool,
    ) -> Ranked:
        """recommend() for one block, with everything said."""
        scores = self.score(user_rows, histories)
        return mask_and_rank(scores, k, candidates, histories.matrix if exclude_known else None)

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Whether the model has anything to say about each buyer, (n,); most need a history. A hybrid asks this."""
        return np.asarray(histories.counts > 0)

    def explain(self, history: Histories, item_column: int, n_reasons: int = 3) -> list[Reason]:
        """The items of a history (1, n_items) without which the item's score falls most, found by leaving each out."""
        return self.explain_all(history, [item_column], n_reasons)[0]

    def explain_all(self, history: Histories, item_columns: Sequence[int], n_reasons: int = 3) -> list[list[Reason]]:
        """The reasons of many items of one list, for the price of one scoring; largest drop first, drops > 0 only."""
        known = np.unique(history.item_columns)
        left_out = np.append(known, -1)  # row i leaves item i out, the last row none
        repeated = history[np.zeros(len(left_out), dtype=np.int64)]
        variants = repeated.select(repeated.item_columns != left_out[repeated.rows])
        wanted = np.broadcast_to(np.asarray(item_columns, dtype=np.int32), (len(left_out), len(item_columns)))
        scores = self.score_items(np.full(len(left_out), -1, dtype=np.int32), variants, wanted)
        drops = scores[-1] - scores[:-1]  # (n_known, n_item_columns)
        best = np.argsort(-drops, axis=0, kind="stable")[:n_reasons]
        return [
            [Reason(int(known[i]), float(drops[i, j])) for i in best[:, j] if drops[i, j] > 0]
            for j in range(len(item_columns))
        ]

    # -- on disk

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learned, as named arrays."""

    @abstractmethod
    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""

    def to_bundle(self) -> Bundle:
        """The model alone, without ids and histories (a hybrid keeps those once for all its members)."""
        return Bundle(self.name, self.config.model_dump(), self.arrays(), self.provenance)

    def save(self, folder: Path) -> Path:
        """Writes the model as a bundle that answers on its own; returns the folder."""
        self._check_fitted()
        alone = self.to_bundle()
        arrays = {**alone.arrays, **_pack_context(self)}
        return bundle.write(folder, Bundle(alone.model, alone.config, arrays, alone.provenance), self.member_bundles())

    def member_bundles(self) -> dict[str, Bundle]:
        """The bundles of a model's parts; most have none."""
        return {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model of a bundle, each file checked against its hash. Raises BundleError."""
        content = bundle.read(folder)
        if content.model != cls.name:
            raise BundleError(
                f"{folder} holds a {content.model}, not a {cls.name}; use recommenders.models.catalog.load"
            )
        context = {name: content.arrays.pop(name) for name in list(content.arrays) if name.startswith("context.")}
        try:
            model = cls(cls.Config(**content.config))
            model.provenance = content.provenance
            _unpack_context(model, context)
            model._restore(folder, content)
        except (KeyError, ValidationError) as error:
            cause = " ".join(str(error).split())
            raise BundleError(f"{folder} is not a bundle of this version's {cls.name}: {cause}; train anew") from error
        return model

    def _restore(self, folder: Path, content: Bundle) -> None:
        self.restore(content.arrays)

    def _check_fitted(self) -> None:
        if not hasattr(self, "items_"):
            raise NotFittedError(self.name)


def mask_and_rank(
    scores: NDArray[np.float32], k: int, candidates: NDArray[np.bool_], known: csr_array | None = None
) -> Ranked:
    """The k best candidates of each row of scores (n, n_items), which is overwritten; items in `known` are left out."""
    scores[:, ~candidates] = -np.inf
    if known is not None:
        rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        scores[rows, known.indices] = -np.inf
    columns, best = top_k(scores, k)
    return Ranked(np.where(np.isneginf(best), np.int32(-1), columns), best)


EVENTS = ("indptr", "item_columns", "timestamps", "weights")


def _pack_context(model: Recommender) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "context.available": model.available_,
        "context.repeat": np.array([model.repeat_]),
        "context.dated": np.array([model.dated_]),
        "context.as_of": np.array([model.as_of_]),
        **{f"context.{name}": array for name, array in pack_periods(model.sale_periods_).items()},
        **{f"context.histories.{part}": getattr(model.histories_, part) for part in EVENTS},
    }
    for axis, ids in (("users", model.users_), ("items", model.items_)):
        arrays |= {f"context.{axis}.{part}": array for part, array in bundle.pack_strings(ids.ids).items()}
    return arrays


def _unpack_context(model: Recommender, arrays: dict[str, NDArray[Any]]) -> None:
    def ids(axis: str) -> IdMap:
        return IdMap(bundle.unpack_strings({part: arrays[f"context.{axis}.{part}"] for part in ("bytes", "ends")}))

    model.users_, model.items_ = ids("users"), ids("items")
    model.available_ = arrays["context.available"]
    model.repeat_, model.dated_ = bool(arrays["context.repeat"][0]), bool(arrays["context.dated"][0])
    model.as_of_ = int(arrays["context.as_of"][0])
    model.sale_periods_ = unpack_periods({name.removeprefix("context."): array for name, array in arrays.items()})
    events = {part: arrays[f"context.histories.{part}"] for part in EVENTS}
    model.histories_ = Histories(**events, n_items=len(model.items_))
