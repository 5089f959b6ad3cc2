"""The endpoints below /admin/. They need a key with the scope admin (serving.traffic.key_check), never none.

POST /admin/reload   reads champion, catalogue and rules now
GET  /admin/rules    the rules of the shop that serve
PUT  /admin/rules    replaces them
POST /admin/erase    deletes what the service holds of a user
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from recommenders.storage.erased_users import id_hash
from serving.endpoints.worker import Worker
from serving.feedback.events import FeedbackError
from serving.settings import BENTO_RULES
from serving.web import request_ids
from serving.web.admin_requests import check_rules_type, parse_erase, versions_of
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.predict_request import as_text
from serving.web.reading import read_body
from serving.web.validation import InvalidRequestError

if TYPE_CHECKING:  # the process that only starts the worker needs no model and no numpy
    from serving.champion.watcher import Champion, ChampionWatcher

log = logging.getLogger(__name__)


def routes(worker: Worker) -> list[BaseRoute]:
    """The routes below /admin/."""

    async def reload_(request: Request) -> Response:
        return await answer_or_problem(reload(worker))

    async def rules(request: Request) -> Response:
        return await answer_or_problem((put_rules if request.method == "PUT" else get_rules)(worker, request))

    async def erase_(request: Request) -> Response:
        return await answer_or_problem(erase(worker, request))

    return [
        Route("/admin/reload", reload_, methods=["POST"]),
        Route("/admin/rules", rules, methods=["GET", "PUT"]),
        Route("/admin/erase", erase_, methods=["POST"]),
    ]


async def reload(worker: Worker) -> Response:
    """What this worker serves after it has read champion, catalogue and rules now."""
    # in a thread: a model takes seconds, and lists are answered meanwhile
    champion = await asyncio.to_thread(worker.watcher.reload) if worker.watcher else None
    if champion is None:
        raise UnavailableError(worker.unavailable_reason())
    problems = {
        "champion": worker.champion_problem,
        "catalogue": worker.catalogue_problem,
        "rules": worker.rules_problem,
    }
    return json_answer(
        {
            "dataset": champion.pointer.dataset,
            "model": champion.pointer.model,
            "version": champion.pointer.version,
            "catalogue": champion.items.version if champion.items else "",
            "rules": champion.rules.version if champion.rules else "",
            "problems": {name: problem for name, problem in problems.items() if problem},
            "request_id": request_ids.current(),
        }
    )


async def get_rules(worker: Worker, request: Request) -> Response:
    """The rules that this worker serves; the header etag has their version."""
    return _rules_answer(*served(worker))


async def put_rules(worker: Worker, request: Request) -> Response:
    """Replaces the file of rules; this worker serves them when the answer is sent."""
    from serving.champion.rules_change import ReadOnlyRulesError, RulesChangedError, change_rules
    from serving.steering.rules.rule_types import RulesError

    check_rules_type(request.headers.get("content-type", ""))
    versions = versions_of(request.headers.get("if-match"))
    content = await read_body(request.scope, request.receive)
    watcher, _ = served(worker)
    file = watcher.rules.path
    if file is None or file == BENTO_RULES:
        raise _read_only("a Bento has the rules that were in the file when it was built")
    try:
        champion = await asyncio.to_thread(change_rules, watcher, file, content, versions)
    except RulesError as error:
        raise InvalidRequestError(422, str(error)) from error
    except RulesChangedError as error:
        raise InvalidRequestError(
            412,
            f'if-match: got another version than "{error.version}", which serves now; read the rules with '
            "GET /admin/rules, and change those",
        ) from error
    except ReadOnlyRulesError as error:
        raise _read_only(f"{file} cannot be written ({error})") from error
    log.warning("the rules were replaced by the request %s", request_ids.current())
    return _rules_answer(watcher, champion)


async def erase(worker: Worker, request: Request) -> Response:
    """Deletes what the service holds of a user, and answers with a receipt."""
    body = await read_body(request.scope, request.receive)
    user_id = as_text(parse_erase(body, request.headers.get("content-type", "")))
    try:
        if worker.feedback is None:
            raise FeedbackError("this service has no feedback store")
        erased_at, deleted = await asyncio.to_thread(worker.feedback.erase, user_id)
    except FeedbackError as error:
        log.error("request %s: %s", request_ids.current(), error)
        raise UnavailableError(
            "the user is not erased: the feedback store cannot be written; try again later"
        ) from error
    log.warning("a user was erased by the request %s", request_ids.current())
    at = datetime.fromtimestamp(erased_at / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found: dict[str, Any] = {"erased_at": at, "deleted": deleted, "remains": remains(worker, user_id)}
    if worker.cache and not await asyncio.to_thread(worker.cache.forget, id_hash(user_id)):
        found["remains"].append(
            f"lists in the cache, for {worker.settings.cache_seconds} s; no user gets them any more"
        )
    return json_answer({**found, "request_id": request_ids.current()})


def remains(worker: Worker, user_id: str) -> list[str]:
    """What may still hold data of an erased user, and until when."""
    champion, found = worker.champion, ["other workers and services with this store: newest events, for a second"]
    if champion and champion.predictor.model.users_.row(user_id) >= 0:
        version = champion.pointer.version
        found.append(
            f"version {version}, which was trained with the user and serves it as a cold-start user from now on"
        )
    return [
        *found,
        "earlier versions; the next version, if the source of the data set still has the user",
        "the source, its tables, the served catalogue, files of feedback that trainings have read, and backups",
    ]


def served(worker: Worker) -> "tuple[ChampionWatcher, Champion]":
    """The watcher and the champion. Raises UnavailableError without them."""
    watcher, champion = worker.watcher, worker.champion
    if watcher is None or champion is None:
        raise UnavailableError(worker.unavailable_reason())
    return watcher, champion


def _rules_answer(watcher: "ChampionWatcher", champion: "Champion") -> Response:
    version, refused = champion.rules.version if champion.rules else "", watcher.rules.refused
    found = {
        "text": watcher.rules.text(version),
        "version": version,
        "refused": refused and {"version": refused[0], "error": refused[1]},
        "request_id": request_ids.current(),
    }
    return json_answer(found, headers={"etag": f'"{version}"'})


def _read_only(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        409, f"rules: {why}; set TRADEWIND_RULES_FILE to a file that the service can write, or change the file there"
    )
