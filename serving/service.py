"""The BentoML service: `bentoml serve serving.service:Tradewind`.

The decorator switches off BentoML's access log, metrics and tracing: they are not used, and each one costs measurable
time.
"""

import os
import sys

import bentoml
from starlette.types import Receive, Scope, Send

from recommenders.errors import ReleaseError
from serving.champion.pointer import read_pointer
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.settings import ServingSettings
from serving.traffic import json_log
from serving.traffic.reachable_addresses import warn_if_reachable
from serving.traffic.shared_folder import make_shared_folder
from serving.web.bentoml_internals import SWAGGER, DirectService

SWITCH_SECONDS = 0.0005  # that a request waits, at most, while a thread that stores or reads computes; Python's is 5 ms

settings = ServingSettings()
worker = Worker(settings)
routes = build(worker, SWAGGER)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """All routes. A Starlette object in its place would hand unknown paths on to BentoML's own routes."""
    await routes(scope, receive, send)


@bentoml.service(
    name="tradewind",
    workers=settings.workers,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(application, path="/")
class Tradewind:
    """One worker. It watches the champion pointer and answers from its start, with 503 until a champion is loaded."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def prepare() -> None:
        """Runs once, in the process that starts the workers."""
        make_shared_folder(settings.workers)

    def __init__(self) -> None:
        for library in ("OMP", "OPENBLAS", "MKL"):  # one list is too small a task for several cores
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
        from threadpoolctl import threadpool_limits

        from serving.champion.watcher import ChampionWatcher
        from serving.feedback.worker_feedback import WorkerFeedback
        from serving.lists.cache.list_cache import open_cache

        json_log.configure(settings.access_log)
        if settings.api_keys_file is None:
            warn_if_reachable()
        self.watcher = worker.watcher = ChampionWatcher(
            settings.pointer, rules_file=settings.rules, rules_required=settings.rules_file is not None
        )
        self.feedback = worker.feedback = WorkerFeedback(
            settings.feedback_store,
            served_dataset(settings),
            lambda: worker.champion,
            settings.answer_days,
            worker.metrics.record_answers,
            lambda user_hash: worker.cache and worker.cache.forget(user_hash),
        )
        worker.cache = open_cache(settings.cache_url, settings.cache_seconds, worker.metrics.record_cache)
        threadpool_limits(1)  # for libraries that were loaded before
        sys.setswitchinterval(SWITCH_SECONDS)
        self.watcher.start()
        self.feedback.start()

    def __is_ready__(self) -> bool:
        return self.watcher.champion is not None

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Stops the watcher, and stores the events that wait."""
        self.feedback.stop()
        self.watcher.stop()


Tradewind.__class__ = DirectService  # type: ignore[method-assign]  # the decorator makes a Service


def served_dataset(settings: ServingSettings) -> str:
    """The data set of the champion; before there is one, that of the settings."""
    try:
        pointer = read_pointer(settings.pointer)
    except ReleaseError:  # the watcher reports it
        pointer = None
    return pointer.dataset if pointer else settings.dataset
