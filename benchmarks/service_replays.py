"""Makes 1,000 stored answers of the service again, and compares them byte by byte.

    python benchmarks/service_replays.py [--answers 1000] [--quick] [--json]

The service answers over HTTP, while three versions, two catalogues and two sets of rules take turns. Four clients send
requests of all scenes, with histories, exclusions, filters, fields, reasons and in batches, and events between them.
Then each answer is read from the feedback store and made again with what `tradewind replay` uses: the bundle of its
version, and the catalogue and the rules that it names.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from api_fuzz import release_catalogue
from measuring import result_table
from measuring.benchmark_tasks import BenchmarkTask, benchmark_task
from measuring.fitted_models import fitted
from predict_path import FLAGSHIP
from service_drills import service
from service_load import release
from threadpoolctl import threadpool_limits

from recommenders.models.recommender import Recommender
from recommenders.storage.atomic_files import atomic_file
from recommenders.training.configuration import TrainingConfig
from serving.champion.pointer import Pointer, fingerprint, read_pointer, write_pointer
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer
from serving.lists.predictor import Predictor
from serving.replay import replay
from serving.settings import ServingSettings
from serving.steering.catalogue.files import read, read_record, record_file
from serving.steering.rules.files import kept, rules_folder
from serving.steering.rules.files import read as read_rules

VERSIONS = (FLAGSHIP, "hybrid", "collaborative_filtering")  # of versions 1, 2 and 3
QUICK_VERSIONS = ("repurchase", "collaborative_filtering", "popularity")
SCENES = ("for_you", "reorder", "discover", "basket")
N_CLIENTS = 4
N_USERS = 50  # known ones: few, so that most get events before a later answer
PLAIN_SHARE = 0.15  # of the requests: only a user id, so that lists that were made beforehand are answered too
EVENTS = ("cart", "purchase", "click")
RULES = (
    """
rules:
- {{name: priced, action: include_only, items: item.price > 0.0}}
- {{name: not-for-basket, when: request.scene != "basket", action: exclude, items: item.category == "{0}"}}
- {{name: own, when: now < timestamp("2100-01-01T00:00:00Z"), action: boost, factor: 3.0, items: item.brand == "{1}"}}
- {{name: three, action: limit, attribute: subcategory, at_most: 3}}
""",
    """
rules:
- {{name: new, when: request.n == 40, action: pin, slot: 2, items: item.category == "{0}" && item.price < 20.0}}
- {{name: some-users, when: user.id.endsWith("7"), action: bury, items: item.brand == "{1}"}}
- {{name: not-again, when: request.n == 5, action: forbid_bought, items: item.category == "{0}"}}
""",
)


@dataclass(frozen=True)
class Answered:
    """The items of an answer as the client got them, without reasons, and what the request had."""

    items: bytes
    kinds: tuple[str, ...]


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--answers", type=int, default=1000, help="how many answers are stored and made again")
    options = parser.parse_args()
    started, rows = time.perf_counter(), list[dict[str, Any]]()
    print(result_table.HEAD)
    n_answers = 60 if options.quick else options.answers
    for line in replays(n_answers, *((QUICK_VERSIONS, 0.1) if options.quick else (VERSIONS, 1.0))):
        result_table.show(line)
        rows.append(line)
    whole = not options.quick and options.answers >= parser.get_default("answers")
    result_table.finish("service_replays", rows, started, options.as_json, {}, whole)


def replays(n_answers: int, versions: Sequence[str], scale: float) -> Iterator[dict[str, Any]]:
    """The rows: of all answers, then of each version, set of rules, scene, strategy and kind of request."""
    with TemporaryDirectory() as folder:
        task = benchmark_task("custom_b2b", scale=scale)
        settings, pointers, texts = prepare(Path(folder), versions, task)
        rules_file = settings.home / "rules.yaml"
        rules_file.write_text(texts[0])
        answered: dict[str, Answered] = {}
        with service(settings, TRADEWIND_RULES_FILE=str(rules_file)) as (url, _):
            turns = [(pointer, text) for pointer in pointers for text in texts]
            for number, (pointer, text) in enumerate(turns):
                if number == len(turns) // 2:
                    release_catalogue(settings, scale, price_factor=1.1)
                switch(url, settings, rules_file, pointer, text)
                n_of_turn = n_answers * (number + 1) // len(turns) - n_answers * number // len(turns)
                answered |= ask(url, Requests(task, number), n_of_turn)
            wait_until_stored(url, len(answered))
        yield from compared(settings, answered)


def prepare(
    home: Path, versions: Sequence[str], task: BenchmarkTask
) -> tuple[ServingSettings, list[Pointer], list[str]]:
    """A home with the bundles of all versions and a catalogue; a pointer for each version, and the sets of rules."""
    settings, _ = release(home, task.scale, versions[0])
    first = read_pointer(settings.pointer)
    assert first is not None
    pointers = [first]
    for version, name in enumerate(versions[1:], 2):
        model = fitted(name, task, TrainingConfig())
        assert isinstance(model, Recommender)
        relative = f"custom_b2b/{version}"
        digest = fingerprint(model.save(settings.champions / relative))
        pointers.append(replace(first, model=name, version=version, bundle=relative, bundle_sha256=digest))
    release_catalogue(settings, task.scale)
    values = most_common(task.items, "category"), most_common(task.items, "brand")
    return settings, pointers, [text.format(*values) for text in RULES]


def most_common(items: pa.Table, name: str) -> str:
    """The most common value of a column."""
    counts = pc.value_counts(items[name].drop_null()).to_pylist()
    return str(max(counts, key=lambda one: (one["counts"], one["values"]))["values"])


def switch(url: str, settings: ServingSettings, rules_file: Path, pointer: Pointer, rules: str) -> None:
    """Makes a version the champion, with a set of rules; returns when both serve, and the newest catalogue."""
    with atomic_file(rules_file) as staging:
        staging.write_text(rules)
    write_pointer(settings.pointer, pointer)
    record = read_record(record_file(settings.pointer))
    assert record is not None
    wanted = {"version": pointer.version, "rules": read_rules(rules_file).version, "catalogue": record.version}
    for _ in range(600):
        state = httpx.get(f"{url}/health", trust_env=False).json()
        if wanted.items() <= state.items():
            return
        time.sleep(0.05)
    raise SystemExit(f"the service does not follow: got {state}; wanted {wanted}")


class Requests:
    """Random requests and events of one turn."""

    def __init__(self, task: BenchmarkTask, number: int) -> None:
        self._rng, self._number = random.Random(number), number
        self._users, self._items = task.log.users.ids.tolist()[:N_USERS], task.log.items.ids.tolist()
        self._categories = sorted(set(task.items["category"].drop_null().to_pylist()))

    def request(self, in_batch: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A body of POST /predict, and what it has."""
        rng = self._rng
        if rng.random() < PLAIN_SHARE:
            return {"user_id": int(rng.choice(self._users))}, ("plain", *(["in a batch"] if in_batch else []))
        parts: dict[str, tuple[float, Callable[[], Any]]] = {
            "history": (0.5, lambda: [*map(int, rng.choices(self._items, k=rng.randint(1, 5))), "no-item"]),
            "exclude": (0.3, lambda: [*map(int, rng.choices(self._items, k=20))]),
            "filters": (0.3, self._filters),
            "fields": (0.2, lambda: ["title", "price", "category"]),
            "explain": (0.0 if in_batch else 0.02, lambda: True),
        }
        chosen = [name for name, (share, _) in parts.items() if rng.random() < share]
        body = {
            "user_id": int(rng.choice(self._users)) if rng.random() < 0.8 else f"new-{rng.randrange(50)}",
            "scene": rng.choice(SCENES),
            "n_recommendations": rng.choice((1, 5, 10, 40)),
            **{name: parts[name][1]() for name in chosen},
        }
        return body, (*(f"with {name}" for name in chosen), *(["in a batch"] if in_batch else []))

    def _filters(self) -> dict[str, Any]:
        low, some = self._rng.uniform(0, 30), self._rng.sample(self._categories, 2)
        choices: Sequence[dict[str, Any]] = (
            {"price": {"min": low, "max": low + 40}},
            {"category": some},
            {"category": {"not": some[0]}, "price": {"min": low}},
        )
        return self._rng.choice(choices)

    def event(self, place: int) -> dict[str, Any]:
        """An event of any user with any item."""
        user, item = int(self._rng.choice(self._users)), int(self._rng.choice(self._items))
        kind = self._rng.choice(EVENTS)
        return {"event_id": f"e-{self._number}-{place}", "event": kind, "user_id": user, "item_id": item}


def ask(url: str, requests: Requests, n_answers: int) -> dict[str, Answered]:
    """Request id -> answer, for n_answers requests: a tenth in one batch, and an event before each fourth other."""
    in_batch = [requests.request(True) for _ in range(min(n_answers // 10, 100))]
    alone = [requests.request(False) for _ in range(n_answers - len(in_batch))]
    events = [requests.event(place) for place in range(len(alone))]

    def answer(place: int) -> Any:
        if place % 4 == 0:
            post(client, "/events", {"events": [events[place]]})
        return post(client, "/predict", alone[place][0])

    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client, ThreadPoolExecutor(N_CLIENTS) as clients:
        answers = list(clients.map(answer, range(len(alone))))
        if in_batch:
            answers += post(client, "/predict/batch", {"requests": [body for body, _ in in_batch]})["answers"]
    found = {}
    for content, (_, kinds) in zip(answers, [*alone, *in_batch], strict=True):
        items = [{name: value for name, value in item.items() if name != "reasons"} for item in content["items"]]
        found[content["request_id"]] = Answered(orjson.dumps(items), kinds)
    return found


def post(client: httpx.Client, path: str, content: object) -> Any:
    """The answer. A request that is refused because others wait is sent again."""
    while (answer := client.post(path, json=content)).status_code in (503, 504):
        time.sleep(0.1)
    return answer.raise_for_status().json()


def wait_until_stored(url: str, n_answers: int) -> None:
    """Returns when the feedback store has the answers."""
    for _ in range(600):
        counts = httpx.get(f"{url}/analytics", trust_env=False).json()["answers"]
        if sum(counts.values()) >= n_answers:
            return
        time.sleep(0.05)
    raise SystemExit(f"only {counts} of {n_answers} answers are stored")


def compared(settings: ServingSettings, answered: Mapping[str, Answered]) -> Iterator[dict[str, Any]]:
    """Each answer as the client got it, beside the stored one and the one that is made again."""
    predictor = cache(lambda version: Predictor(settings.champions / "custom_b2b" / str(version)))
    catalogue = cache(lambda version: read(record_file(settings.pointer), version))
    rules = cache(lambda version: kept(rules_folder(settings.pointer), version))
    store, lost, different = FeedbackStore(settings.feedback_store, "custom_b2b"), list[str](), list[str]()
    totals, wrong = Counter[str](), Counter[str]()
    with threadpool_limits(1):  # as in the service: one order of additions
        for request_id, one in answered.items():
            stored = store.answer(request_id)
            if stored is None or orjson.dumps(stored.items) != one.items:
                lost.append(request_id)
                continue
            found = replay(stored, predictor(stored.version), catalogue(stored.catalogue), rules(stored.rules))
            groups = groups_of(stored, one.kinds)
            totals.update(groups)
            if not found.equal:
                different.append(request_id)
                wrong.update(groups)
    store.close()
    yield row("not stored as they were answered", len(lost), len(answered), lost)
    yield row("made again with a difference", len(different), len(answered) - len(lost), different)
    for group in sorted(totals):
        yield row(f"different, {group}", wrong[group], totals[group])


def groups_of(stored: StoredAnswer, kinds: Sequence[str]) -> list[str]:
    """The groups in which an answer is counted."""
    by_rules = any("rules" in item for item in stored.items)
    return [
        f"version {stored.version} ({stored.model})",
        f"rules {stored.rules[:8]}",
        f"catalogue {stored.catalogue[:8]}",
        f"scene {stored.scene}",
        f"strategy {stored.strategy}",
        *kinds,
        *(["after newer events of the user"] if stored.recent else []),
        *(["with items that a rule placed or moved"] if by_rules else []),
    ]


def row(what: str, n_wrong: int, n_answers: int, request_ids: Sequence[str] = ()) -> dict[str, Any]:
    """A row of the table; the request ids of wrong answers are in the note (the first three) and in the JSON."""
    note = f"of {n_answers:,}" + (f": {', '.join(request_ids[:3])}" if request_ids else "")
    bounds: dict[str, Any] = {"floor": 0, "lower_is_better": True}
    return result_table.row(f"answers {what}", "answers", n_wrong, note=note, request_ids=list(request_ids), **bounds)


if __name__ == "__main__":
    main()
