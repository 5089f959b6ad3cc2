"""What batch lists are made from: the champion with its catalogue and rules, and users' newest events."""

from dataclasses import dataclass
from pathlib import Path

from alembic.util import CommandError

from recommenders.clock import now_us
from recommenders.errors import ReleaseError, TradewindError
from recommenders.storage.feedback_reader import FeedbackReader
from serving.champion.watcher import Champion, ChampionWatcher
from serving.feedback.recent_events import RecentEvents
from serving.feedback.store import FeedbackStore
from serving.settings import ServingSettings


@dataclass(frozen=True, eq=False)
class Source:
    """What makes the lists of a batch, as of one moment.

    problems: why something newer is not used; empty if all is well. They are those of the service's /health.
    """

    champion: Champion
    recent: RecentEvents | None  # None: no event is stored, or the store cannot be read
    clock: int  # microseconds since 1970, UTC
    with_rules: bool
    problems: tuple[str, ...]

    def recent_items(self, user_id: str) -> list[str]:
        """The item ids of the user's stored events that the champion was not trained on, oldest first."""
        return self.recent.items(user_id, self.champion.feedback_position) if self.recent else []

    def erased_at(self, user_id: str) -> int | None:
        """When the user was erased, in microseconds since 1970, UTC; None: never."""
        return self.recent.erased_at(user_id) if self.recent else None


def open_source(settings: ServingSettings, pointer_file: Path, with_rules: bool = True) -> Source:
    """The champion of a pointer, with the newest events, now. with_rules: whether the rules of the shop count.

    Raises ReleaseError if there is no champion that can be loaded.
    """
    rules_file = settings.rules if with_rules else None
    watcher = ChampionWatcher(
        pointer_file, rules_file=rules_file, rules_required=settings.rules_file is not None, keeps_rules=False
    )
    watcher.poll()
    if watcher.champion is None:
        raise ReleaseError(watcher.problem)
    recent, problem = _recent(settings.feedback_store, watcher.champion)
    found = (watcher.catalogue.problem, watcher.rules.problem, problem)
    return Source(watcher.champion, recent, now_us(), with_rules, tuple(filter(None, found)))


def _recent(url: str, champion: Champion) -> tuple[RecentEvents | None, str]:
    """The newest events of all users, and why they cannot be read. No store is made where there is none."""
    dataset = champion.pointer.dataset
    try:
        if not FeedbackReader(url, dataset).exists():
            return None, ""
        store = FeedbackStore(url, dataset)
        try:
            recent = RecentEvents(store, lambda: champion)
            recent.poll()
        finally:
            store.close()
    except CommandError as error:  # of Alembic, such as for tables of a later version
        return None, f"the feedback store cannot be opened: {error}"
    except TradewindError as error:
        return None, str(error)
    return recent, ""
