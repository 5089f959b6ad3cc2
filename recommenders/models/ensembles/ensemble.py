"""Models made of other models: how members are held, saved and brought back."""

import logging
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender, Tracker
from recommenders.storage import bundle
from recommenders.storage.bundle import Bundle

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

LOG = logging.getLogger(__name__)


class Composed(Recommender):
    """A model whose knowledge lies with its members; popularity is always one, for whom nothing else is known.

    fit() fits the members with their default configurations. training.fit_one, and compose() with members fitted
    before, keep the configurations of a training file, as the platform does.
    """

    handles_new_items: ClassVar[bool] = True
    uses_features: ClassVar[bool] = True
    # One user at a time, as the service asks: in a block members sum in another order, and items whose scores differ by
    # rounding alone would change places, in lists that are judged and in those that are served.
    block: ClassVar[int] = 1

    members_: dict[str, Recommender]
    declined_: dict[str, str]  # member that fit() had to do without -> why; nothing of it is stored

    @abstractmethod
    def wanted(self) -> list[str]:
        """The members by name, popularity among them."""

    def worth_fitting(self, interactions: Interactions) -> list[str]:
        """Those of them that it makes use of on such a log."""
        return self.wanted()

    def compose(
        self,
        members: Mapping[str, Recommender],
        interactions: Interactions,
        features: "ItemFeatures | None" = None,
        tracker: Tracker | None = None,
    ) -> "Composed":
        """Learns from members already fitted on these interactions; those that are not given are gone without.

        Raises UnsuitableError if popularity is missing, or everything but popularity.
        """
        useful = self.worth_fitting(interactions)
        present = {name: members[name] for name in useful if name in members}
        if Popularity.name not in present or (len(present) < 2 and len(self.wanted()) > 1):
            wanted, got = ", ".join(useful), ", ".join(sorted(members)) or "none"
            aside = ", ".join(name for name in self.wanted() if name not in useful)
            instead = f", or set models.{self.name}.n_windows: 1 to make use of {aside}" if aside else ""
            raise UnsuitableError(
                f"{self.name} needs popularity and another of {wanted}; got {got}; enable some{instead}"
            )
        self._remember(interactions)
        self.members_ = present
        self._learn(interactions, features, tracker)
        return self

    def _learn(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        """What is learned about the members once they stand; a blend by fixed weights learns nothing."""

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        from recommenders.models.catalog import model_class

        members = {}
        self.declined_ = {}
        for name in self.worth_fitting(interactions):
            try:
                members[name] = model_class(name)().fit(interactions, features, tracker)
            except UnsuitableError as error:  # compose() says so if too few are left
                self.declined_[name] = str(error)
                LOG.warning("%s goes on without %s: %s", self.name, name, error)
        self.compose(members, interactions, features, tracker)

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Where any member but popularity has something to say."""
        known = np.zeros(len(user_rows), dtype=np.bool_)
        for name, member in self.members_.items():
            if name != Popularity.name and not known.all():
                known |= member.knows(user_rows, histories)
        return known

    def member_bundles(self) -> dict[str, Bundle]:
        """Each member's own bundle; ids and histories stand once, in this model's."""
        return {name: member.to_bundle() for name, member in self.members_.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing of its own, unless it learns."""
        return {}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""

    def _restore(self, folder: Path, content: Bundle) -> None:
        from recommenders.models.catalog import model_class

        self.members_ = {}
        for name in content.members:
            part = bundle.read_member(folder, name)
            member = model_class(part.model)(model_class(part.model).Config(**part.config))
            member.share_context(self)
            member.provenance = part.provenance
            member.restore(part.arrays)
            self.members_[name] = member
        self.restore(content.arrays)
