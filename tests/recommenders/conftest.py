"""Toy logs with known results, shared by the tests of models, evaluation and training."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.models.recommender import Recommender
from recommenders.simulation.market_files import write_world
from recommenders.storage import schema
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, fit_recipe

World = tuple[Interactions, ItemFeatures]

START = datetime(2026, 1, 1, tzinfo=UTC)


def events(pairs: list[tuple[int, int]], days: list[float]) -> pa.Table:
    """One purchase per pair of user and item numbers, at the given days after START."""
    return schema.conform(
        pa.table(
            {
                "user_id": [f"u{user:02}" for user, _ in pairs],
                "item_id": [f"i{item:02}" for _, item in pairs],
                "timestamp": [START + timedelta(days=day) for day in days],
                "event": ["purchase"] * len(pairs),
                "weight": [1.0] * len(pairs),
                "quantity": [float(1 + (user + item) % 5) for user, item in pairs],
            }
        ),
        schema.INTERACTIONS,
        "toy events",
    )


def checkerboard_pairs(n_users: int = 24, n_items: int = 20) -> list[tuple[int, int]]:
    """Even users buy even items, odd users odd items; each user leaves out exactly one item of its colour."""
    return [
        (user, item)
        for user in range(n_users)
        for item in range(n_items)
        if user % 2 == item % 2 and item != left_out(user, n_items)
    ]


def left_out(user: int, n_items: int = 20) -> int:
    """The one item of its colour that a checkerboard user has not bought."""
    return (user + 2 * (user // 2)) % n_items // 2 * 2 + user % 2


def items_table(n_items: int) -> pa.Table:
    """Items of two categories by colour."""
    colours = ["odd" if item % 2 else "even" for item in range(n_items)]
    return schema.conform(
        pa.table(
            {
                "item_id": [f"i{item:02}" for item in range(n_items)],
                "title": [f"{colour} thing" for colour in colours],
                "category": colours,
                "price": [10.0 + item for item in range(n_items)],
            }
        ),
        schema.ITEMS,
        "toy items",
    )


def checkerboard(repeat: bool = False, n_items: int = 22) -> tuple[Interactions, ItemFeatures]:
    """The log and item features of 24 users and 20 bought items; i20 is new, i21 is no longer on sale."""
    pairs = checkerboard_pairs()
    days = [place * 7 % 90 for place in range(len(pairs))]
    items = IdMap.from_ids(f"i{item:02}" for item in range(n_items))
    available = np.arange(n_items) != 21
    log = Interactions.from_table(events(pairs, days), items, available=available, repeat=repeat)
    return log, encode_items(items_table(n_items), items)


@pytest.fixture(scope="session")
def toy_events() -> Callable[[list[tuple[int, int]], list[float]], pa.Table]:
    return events


@pytest.fixture(scope="session")
def world() -> World:
    """Without repeat purchases: the one right item of each user is the left-out item of its colour."""
    return checkerboard()


@pytest.fixture(scope="session")
def reorder_world() -> World:
    return checkerboard(repeat=True)


@pytest.fixture(scope="session")
def answers() -> np.ndarray:
    """(24,): the item column that each checkerboard user should be recommended."""
    return np.array([left_out(user) for user in range(24)])


@pytest.fixture(scope="session")
def small_config() -> TrainingConfig:
    """Quick to fit: a small network."""
    return TrainingConfig.model_validate(
        {
            "data": {"batch_size": 64},
            "models": {
                "neural_collaborative": {
                    "embedding_dim": 8,
                    "hidden_layers": [16, 8],
                    "epochs": 30,
                    "patience": 5,
                    "learning_rate": 0.01,
                },
                "sasrec": {"fit_on_windows": True, "embedding_dim": 8, "dropout": 0.5, "fixed_epochs": 4},
                "hybrid_learned": {"n_windows": 1, "n_estimators": 30, "max_depth": 3},
            },
        }
    )


class Recipe(NamedTuple):
    """The models that fit_recipe fitted on the checkerboard, the names of the trackers, and the skipped models."""

    fitted: dict[str, Recommender]
    tracked: list[str]
    skipped: list[SkippedModel]


@pytest.fixture(scope="session")
def recipe(world: World, small_config: TrainingConfig) -> Recipe:
    tracked: list[str] = []
    skipped: list[SkippedModel] = []
    return Recipe(fit_recipe(small_config, *world, tracked.append, skipped.append), tracked, skipped)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated market of 100 users, 1,118 items and 1,250 orders."""
    folder = tmp_path_factory.mktemp("world") / "b2b"
    write_world(folder, scale=0.05, seed=7)
    return folder
