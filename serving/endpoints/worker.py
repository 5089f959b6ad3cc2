"""What the endpoints of one process share: settings, champion, feedback store, counters, keys and the queue."""

from typing import TYPE_CHECKING

from serving.feedback.worker_feedback import WorkerFeedback
from serving.settings import ServingSettings
from serving.traffic.api_keys import ApiKeys
from serving.traffic.metrics.counters import Metrics
from serving.traffic.metrics.served_state import ServedState, ServedVersion
from serving.traffic.rate_limits import RateLimits
from serving.traffic.request_queue import RequestQueue
from serving.traffic.shared_folder import shared_folder

if TYPE_CHECKING:  # the process that only starts the worker needs no model and no numpy
    from serving.champion.watcher import Champion, ChampionWatcher
    from serving.lists.cache.list_cache import ListCache
    from serving.steering.catalogue.files import Catalogue


class Worker:
    """One per process. The process sets `watcher`, `feedback` and `cache` when it starts; tests may leave them out."""

    def __init__(self, settings: ServingSettings | None = None) -> None:
        """settings: by default those of the environment."""
        self.settings = settings or ServingSettings()
        self.watcher: ChampionWatcher | None = None
        self.feedback: WorkerFeedback | None = None
        self.cache: ListCache | None = None
        folder = shared_folder()
        self.metrics = Metrics(folder)
        self.keys = ApiKeys(self.settings.api_keys_file) if self.settings.api_keys_file else None
        self.limits = RateLimits(folder)
        self.queue = RequestQueue(self.metrics.queue)
        self.metrics.add(ServedState(lambda: self.served_version, lambda: self.problems))

    @property
    def champion(self) -> "Champion | None":
        """The champion in memory; None before the first one is loaded."""
        return self.watcher.champion if self.watcher else None

    @property
    def catalogue(self) -> "Catalogue | None":
        """The catalogue that is served with the champion; None without one."""
        champion = self.champion
        return champion.items.catalogue if champion and champion.items else None

    @property
    def catalogue_problem(self) -> str:
        """Why the newest catalogue is not loaded; empty if it is."""
        return self.watcher.catalogue.problem if self.watcher else ""

    @property
    def rules_problem(self) -> str:
        """Why the newest rules do not serve; empty if they do."""
        return self.watcher.rules.problem if self.watcher else ""

    @property
    def champion_problem(self) -> str:
        """Why the newest champion is not loaded; empty if it is."""
        return self.watcher.problem if self.watcher else ""

    @property
    def problems(self) -> dict[str, str]:
        """Each part of the service -> what is wrong with it; empty if nothing is."""
        return {
            "champion": self.champion_problem,
            "events": self.feedback.problem if self.feedback else "",
            "api_keys": self.keys.problem if self.keys else "",
            "catalogue": self.catalogue_problem,
            "rules": self.rules_problem,
        }

    @property
    def served_version(self) -> ServedVersion | None:
        """The version that serves; None before a champion is loaded."""
        champion = self.champion
        if champion is None:
            return None
        pointer, provenance = champion.pointer, champion.predictor.model.provenance
        return ServedVersion(
            pointer.dataset, pointer.model, pointer.version, pointer.promoted_at, provenance.get("trained_until")
        )

    def unavailable_reason(self) -> str:
        """Why there is no champion yet."""
        return self.champion_problem or "the service is starting: it loads the champion"
