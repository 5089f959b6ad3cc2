"""`tradewind replay`: an answer of the service, made again."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.cli.options import AsJson, Dataset, settings_without_source
from recommenders.errors import DataError

if TYPE_CHECKING:
    from orchestration.settings import Settings
    from serving.feedback.events import StoredEvent
    from serving.feedback.store import FeedbackStore
    from serving.feedback.stored_answer import StoredAnswer


def replay(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="request_id of the answer.")],
    dataset: Dataset = None,
    as_json: AsJson = False,
) -> None:
    """Make an answer of the service again: with its version and events, and as it would be now."""
    from serving.feedback.store import FeedbackStore

    settings = settings_without_source(dataset)
    store = FeedbackStore(settings.feedback_store, settings.dataset)
    answer = store.answer(request_id)
    if answer is None:
        raise DataError(
            f"no answer {request_id} to {settings.dataset} is stored; answers are kept for {settings.answer_days} days "
            "(TRADEWIND_ANSWER_DAYS), for one data set each, and until their user is erased"
        )
    found = lists_of(settings, store, answer)
    events = store.events_of(request_id)
    store.close()
    if as_json:
        print(json.dumps({"answer": asdict(answer), "events": [asdict(event) for event in events], **found}))
    else:
        print("\n".join(page(answer, events, found)))
    if not found["equal"]:
        raise typer.Exit(1)


def lists_of(settings: "Settings", store: "FeedbackStore", answer: "StoredAnswer") -> dict[str, Any]:
    """The items made again by the version of the answer and whether they are equal; the items of the champion now."""
    from threadpoolctl import threadpool_limits

    from orchestration.launcher.platform_state import live_pointer
    from serving.feedback.recent_events import RecentEvents
    from serving.lists.predictor import Predictor
    from serving.release.registry import Registry
    from serving.replay import make_list, replay
    from serving.steering.catalogue.files import read, read_record, record_file
    from serving.steering.rules.files import kept, newest, rules_folder

    rules = rules_folder(settings.pointer)
    registry, champion = Registry(settings), live_pointer(settings)
    record = record_file(settings.pointer)
    with TemporaryDirectory() as folder, threadpool_limits(1):  # as in the service: one order of additions
        version = registry.version(settings.dataset, answer.version)
        then = read(record, answer.catalogue) if answer.catalogue else None
        replayed = replay(
            answer,
            Predictor(registry.download_bundle(version, Path(folder) / "bundle")),
            then,
            kept(rules, answer.rules),
        )
        today = Predictor(champion.bundle_folder(settings.pointer))
        recent = RecentEvents(store, lambda: today)
        recent.poll()
        clock = int(datetime.now(UTC).timestamp() * 1e6)
        named = read_record(record)
        current = read(record, named.version) if named else None
        now_known = replace(answer, since=recent.erased_at(answer.user_id))
        now = make_list(now_known, today, recent.items(answer.user_id), clock, current, newest(rules))
    return {"again": replayed.again, "equal": replayed.equal, "version_now": champion.version, "now": now}


def page(answer: "StoredAnswer", events: "list[StoredEvent]", found: dict[str, Any]) -> list[str]:
    """The lines to print: the request, the three lists side by side, and the events that name the answer."""
    at = datetime.fromtimestamp(answer.answered_at / 1e6, UTC)
    lines = [
        f"answer {answer.request_id} to user {answer.user_id}, {at:%Y-%m-%d %H:%M:%S} UTC",
        f"version {answer.version} ({answer.model}), scene {answer.scene}, strategy {answer.strategy}",
        f"request: {answer.request}",
        f"newest events then: {', '.join(answer.recent) or 'none'}",
        "",
        f"{'rank':>4}  {'answered':<24}{'made again':<24}now, version {found['version_now']}",
    ]
    for place in range(max(len(answer.items), len(found["now"]))):
        cells = [_cell(items, place) for items in (answer.items, found["again"], found["now"])]
        lines.append(f"{place + 1:>4}  {cells[0]:<24}{cells[1]:<24}{cells[2]}")
    lines += ["", "made again: equal" if found["equal"] else "made again: DIFFERENT"]
    ranks = {str(item["item_id"]): item["rank"] for item in answer.items}
    for event in events:
        where = f"rank {ranks[event.item_id]}" if event.item_id in ranks else "not in the list"
        lines.append(f"{event.event} of {event.item_id}: {where}")
    return lines


def _cell(items: Any, place: int) -> str:
    """An item with its probability, if the model is calibrated."""
    if place >= len(items):
        return ""
    item = items[place]
    return str(item["item_id"]) if item["score"] is None else f"{item['item_id']} ({item['score']:.3f})"
