"""`tradewind replay`, with a registry of two versions and a stored answer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity
from serving.champion.pointer import Pointer, fingerprint, write_pointer
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer
from serving.lists.predictor import Predictor
from serving.release.registry import Registry
from serving.replay import make_list
from serving.settings import ServingSettings
from serving.steering.rules.files import keep, rules_folder
from serving.steering.rules.rule_types import Rules, parse

# MLflow 3.17's own tables use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

DATASET = "custom_b2b"


def bundle(folder: Path, favourite: int) -> Path:
    """Popularity on a log in which the favourite is bought twice, and five other items once."""
    columns = np.array([favourite, favourite, 0, 1, 2, 3, 4], dtype=np.int32)
    ones = np.ones(len(columns), dtype=np.float32)
    users, items = IdMap.from_ids(["u"]), IdMap.from_ids(f"i{n}" for n in range(6))
    rows, times = np.zeros(len(columns), dtype=np.int32), np.arange(len(columns))
    log = Interactions(users, items, rows, columns, times, ones, ones, np.ones(6, dtype=np.bool_), True)
    return Popularity().fit(log).save(folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Version 1 made the stored answer "r1"; version 2 serves. Answer "r2" is not what version 1 makes."""
    settings = ServingSettings(home=tmp_path / "home", dataset=DATASET)
    registry = Registry(settings)
    for number in (1, 2):
        folder = bundle(settings.champions / DATASET / str(number), favourite=number)
        with registry.run(DATASET, "training", {}, {}) as run:
            assert registry.publish(DATASET, folder, run.run_id, {"cut": "x"}).number == number
    place = (f"{DATASET}/2", fingerprint(folder))
    write_pointer(settings.pointer, Pointer(DATASET, "popularity", 2, *place, "2026-01-01T00:00:00", "run"))
    store = FeedbackStore(settings.feedback_store, DATASET)
    request = '{"user_id": "u", "n_recommendations": 3}'
    answer = StoredAnswer("r1", 1_000_000, "u", "for_you", "known_user", "popularity", 1, request, [], [])
    items = make_list(answer, Predictor(settings.champions / DATASET / "1"), [], 1_000_000)
    for request_id, served in (("r1", items), ("r2", items[::-1])):
        row = {name: getattr(answer, name) for name in StoredAnswer.__slots__}
        store.append_answers([StoredAnswer(**row | {"request_id": request_id, "items": served})])
    store.append([StoredEvent("e", "click", "u", items[1]["item_id"], 0, 0, "r1")])
    store.close()
    return settings.home


def test_an_answer_is_made_again_beside_what_it_would_be_now(run_here: Callable, home: Path) -> None:
    done = run_here("replay", "r1", "--dataset", DATASET, home=home)
    assert done.returncode == 0, done.stderr
    assert "made again: equal" in done.stdout
    first = next(line for line in done.stdout.splitlines() if line.strip().startswith("1 "))
    assert [part for part in first.split() if part.startswith("i")] == ["i1", "i1", "i2"]
    assert "click of i0: rank 2" in done.stdout
    found = json.loads(run_here("replay", "r1", "--json", "--dataset", DATASET, home=home).stdout)
    assert (found["equal"], found["version_now"], found["answer"]["version"]) == (True, 2, 1)
    assert found["again"] == found["answer"]["items"] != found["now"]


def pinned(item_id: str) -> Rules:
    rule = {"name": "top", "action": "pin", "slot": 1, "items": f'item.id == "{item_id}"'}
    return parse({"rules": [rule]}, "rules.yaml")


def test_an_answer_is_made_again_by_its_rules_and_now_by_those_that_serve(run_here: Callable, home: Path) -> None:
    settings = ServingSettings(home=home, dataset=DATASET)
    store, folder = FeedbackStore(settings.feedback_store, DATASET), rules_folder(settings.pointer)
    row, then = {name: getattr(store.answer("r1"), name) for name in StoredAnswer.__slots__}, pinned("i4")
    keep(folder, then)
    keep(folder, pinned("i3"))
    answer = StoredAnswer(**row | {"request_id": "r4", "rules": then.version})
    items = make_list(answer, Predictor(settings.champions / DATASET / "1"), [], answer.answered_at, None, then)
    store.append_answers([replace(answer, items=items)])
    store.close()
    done = run_here("replay", "r4", "--json", "--dataset", DATASET, home=home)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(item["item_id"], item["rules"]) for item in found["again"][:1]] == [("i4", ["top"])]
    assert found["now"][0]["item_id"] == "i3"


def test_an_answer_that_cannot_be_made_again_is_reported(run_here: Callable, home: Path) -> None:
    done = run_here("replay", "r2", "--dataset", DATASET, home=home)
    assert done.returncode == 1
    assert "made again: DIFFERENT" in done.stdout
    missing = run_here("replay", "r3", "--dataset", DATASET, home=home)
    assert missing.returncode == 2
    assert "no answer r3 to custom_b2b is stored; answers are kept for 30 days" in missing.stderr
