"""The state of the service: GET /health, /analytics and /metrics."""

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serving.endpoints.worker import Worker
from serving.traffic.metrics.counters import CONTENT_TYPE
from serving.web import pages
from serving.web.answers import RETRY_AFTER, json_answer

if TYPE_CHECKING:
    from serving.champion.watcher import Champion


def routes(worker: Worker) -> list[BaseRoute]:
    """The routes of the state."""

    async def health(request: Request) -> Response:
        champion = worker.champion
        if champion is None:
            found = {"status": "starting", "reason": worker.unavailable_reason(), **problems(worker)}
            return json_answer(found, 503, RETRY_AFTER)
        return json_answer(state(worker, champion))

    async def analytics(request: Request) -> Response:
        figures = worker.metrics.summary()
        if "text/html" in request.headers.get("accept", ""):
            return Response(pages.analytics(figures), headers=pages.SECURITY, media_type="text/html")
        return json_answer(figures)

    async def exposition(request: Request) -> Response:
        return Response(worker.metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    return [Route("/health", health), Route("/analytics", analytics), Route("/metrics", exposition)]


def state(worker: Worker, champion: "Champion") -> dict[str, object]:
    """What GET /health answers once a champion is loaded."""
    on_sale = int(champion.predictor.lists.on_sale().sum())
    found = {
        "status": "ok",
        "dataset": champion.pointer.dataset,
        "model": champion.pointer.model,
        "version": champion.pointer.version,
        "promoted_at": champion.pointer.promoted_at,
        "age_seconds": champion.age_seconds,
        "items_on_sale": on_sale,
    }
    if not on_sale:
        found["warning"] = "all lists are empty: no item is on sale by its available_from and available_until"
    if worker.champion_problem:
        found["warning"] = f"version {champion.pointer.version} is still served; {worker.champion_problem}"
    if worker.catalogue:
        found["catalogue"] = worker.catalogue.version
    if champion.rules and champion.rules.version:
        found["rules"] = champion.rules.version
    return found | problems(worker)


def problems(worker: Worker) -> dict[str, str]:
    """What is wrong beside the champion: with the feedback store, the file of API keys, the catalogue or the rules."""
    names = {"events": "events", "api_keys": "api_keys", "catalogue": "catalogue_problem", "rules": "rules_problem"}
    found = worker.problems
    return {name: found[part] for part, name in names.items() if found[part]}
