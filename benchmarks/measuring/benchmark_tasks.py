"""The benchmark tasks of all models and peers: a training log, the users of the window, their relevant items."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from peers.environments import PeerError, place, python_of

from recommenders.datasets.all_datasets import dataset
from recommenders.datasets.reading.ingest import TABLES
from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.tasks.cold_start import CLICKS, cold_items, cold_start_users, rest_of_basket
from recommenders.evaluation.tasks.sampled import Candidates, shuffled_candidates
from recommenders.evaluation.tasks.task import EvaluationTask, TaskView, make_task
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.splitting.temporal import cut_time, split, training_log
from recommenders.storage import schema

# name -> data set
DATASETS = {
    "online_retail": "online_retail",
    "custom_b2b": "custom_b2b",
    "ml-latest-small": "movielens",
    "ml-100k": "movielens",
}
SEED = 42
LATER_VISITS = "cold-start users, first visit, later visits"
COLD_ITEMS = "items unseen in training"
N_SAMPLED = 99  # unknown items per user beside the held-out one, as in He et al. 2017


class MissingData(RuntimeError):
    """A data set that is not on this machine."""


@dataclass(frozen=True, eq=False)
class BenchmarkTask:
    """A benchmark task: a training log, and the events of the window after it."""

    name: str
    version: str  # of the data and of the cut
    protocol: Protocol
    interactions: pa.Table  # all events until the end of the window
    items: pa.Table
    log: Interactions
    case: EvaluationTask
    features: ItemFeatures
    scale: float
    validation: bool = False  # whether it is the window before the test window

    @property
    def key(self) -> tuple[str, str, float, str]:
        """Everything that the task depends on, including the text of this file."""
        return self.name, self.version, self.scale, Path(__file__).read_text()

    @cached_property
    def views(self) -> Mapping[str, TaskView]:
        """The view all and, for logs with repeat purchases, reorder and discovery."""
        return self.case.views()

    @cached_property
    def sampled(self) -> Candidates | None:
        """Each user's held-out item and N_SAMPLED items without events of the user; None after a time cut."""
        return _sample_candidates(self.case) if self.protocol.split == "latest_out" else None

    @cached_property
    def cold(self) -> Mapping[str, EvaluationTask]:
        """Name -> task of cold-start users or of items without training events, if the window has any."""
        return _cold_tasks(self)

    def cold_view(self, name: str) -> TaskView:
        """The target view of a cold-start task."""
        return TaskView(self.cold[name].relevant, not self.cold[name].repeat)

    @cached_property
    def test(self) -> pa.Table:
        """The events of the window."""
        parts = split(self.interactions, self.protocol)
        return parts.filter(pc.equal(parts["part"], "test"))


def benchmark_task(
    name: str, validation: bool = False, scale: float = 1.0, ties: int | None = None, seed: int = SEED
) -> BenchmarkTask:
    """The test window of a data set, or the validation window before it, as if the log ended there.

    ties: seed of a random order of events with equal time stamps; by default the library orders them by ids. scale and
    seed are of a simulated market. Raises MissingData.
    """
    spec = dataset(DATASETS[name])
    version, interactions, items = _tables(name, scale, seed)
    protocol = spec.protocol
    if validation and protocol.split == "time_cut":
        interactions = _until(interactions, protocol.test_days)
    parts = split(interactions, protocol)
    if validation and protocol.split == "latest_out":
        interactions = parts.filter(pc.not_equal(parts["part"], "test")).drop_columns(["part"])
        parts = split(interactions, protocol)
    events = parts.filter(pc.not_equal(parts["part"], "test"))
    log = training_log(events, items, protocol, cut_time(parts))
    if ties is not None:
        log = shuffle_ties(log, ties)
    task = make_task(log, parts.filter(pc.equal(parts["part"], "test")), protocol)
    features = encode_items_as_of(items, log.items, log.last_event)
    version = f"{version}-{'validation' if validation else 'test'}{'' if ties is None else f'-ties{ties}'}"
    log = replace(log, version=version)
    return BenchmarkTask(name, version, protocol, interactions, items, log, task, features, scale, validation)


def shuffle_ties(log: Interactions, seed: int) -> Interactions:
    """The same events, with events of equal time stamps in a random order."""
    random_keys = np.random.default_rng(seed).random(len(log))
    order = np.lexsort((random_keys, log.timestamps))
    arrays = ("user_rows", "item_columns", "timestamps", "weights", "strengths")
    return replace(log, **{name: getattr(log, name)[order] for name in arrays})


def _until(interactions: pa.Table, days: int) -> pa.Table:
    times = interactions["timestamp"]
    end = pc.max(times).as_py() - timedelta(days=days)
    return interactions.filter(pc.less_equal(times, pa.scalar(end, times.type)))


def _tables(name: str, scale: float, seed: int) -> tuple[str, pa.Table, pa.Table]:
    """(version, interactions, items), read once and kept as Parquet."""
    spec = dataset(DATASETS[name])
    source = _source(name, scale, seed)
    version = spec.fingerprint(source).version
    folder = place() / "tables" / f"{name}-{version}"
    if not (folder / "read").exists():
        folder.mkdir(parents=True, exist_ok=True)
        spec.write_tables(source, folder)
        (folder / "read").touch()
    interactions, items = (
        schema.conform(pq.read_table(folder / f"{table}.parquet"), TABLES[table], table)
        for table in ("interactions", "items")
    )
    return version, interactions.sort_by([("timestamp", "ascending")]), items


def _source(name: str, scale: float, seed: int) -> Path:
    spec = dataset(DATASETS[name])
    if spec.generator:
        folder = place() / "data" / f"{name}-{scale:g}{'' if seed == SEED else f'-seed{seed}'}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        spec.make(folder, scale, seed)
        return folder
    if name == "ml-100k":
        return _ml_100k()
    real = os.environ.get("TRADEWIND_REAL_DATA", "")
    folder = Path(real) / spec.real_data_folder
    if not real or not folder.exists():
        raise MissingData(f"{name}: set TRADEWIND_REAL_DATA to a folder that contains {spec.real_data_folder}/")
    return folder


def _ml_100k() -> Path:
    """The folder of the copy that RecBole ships, converted from its layout to the publisher's."""
    folder = place() / "data" / "ml-100k"
    if (folder / "u.data").exists():
        return folder
    try:
        python = python_of("recbole")
    except PeerError as error:
        raise MissingData(f"ml-100k comes with RecBole: {error}") from error
    shipped = next(python.parents[1].glob("lib/*/site-packages/recbole/dataset_example/ml-100k"))
    folder.mkdir(parents=True, exist_ok=True)
    items, users, ratings = (_rows(shipped / f"ml-100k.{part}") for part in ("item", "user", "inter"))
    genres = sorted({genre for row in items for genre in row[3].split()})
    (folder / "u.genre").write_text("".join(f"{genre}|{n}\n" for n, genre in enumerate(genres)))
    (folder / "u.user").write_text("".join("|".join(row) + "\n" for row in users))
    films = (
        f"{item}|{title} ({year})|01-Jan-{year}||http://x|{'|'.join(str(int(g in of.split())) for g in genres)}\n"
        for item, title, year, of in items
    )
    (folder / "u.item").write_text("".join(films), encoding="latin-1")
    lines = (f"{user}\t{item}\t{float(rating):.0f}\t{float(time):.0f}\n" for user, item, rating, time in ratings)
    (folder / "u.data").write_text("".join(lines))
    return folder


def _rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]]


def _cold_tasks(task: BenchmarkTask) -> dict[str, EvaluationTask]:
    of = task.log, task.test, task.protocol
    task_makers: dict[str, Callable[[], EvaluationTask | dict[str, EvaluationTask]]] = {
        LATER_VISITS: lambda: cold_start_users(*of),
        f"cold-start users, {CLICKS} events, later visits": lambda: cold_start_users(*of, clicks=CLICKS),
        f"rest of the basket, {CLICKS} lines": lambda: rest_of_basket(*of),
        COLD_ITEMS: lambda: cold_items(*of),
    }
    tasks: dict[str, EvaluationTask] = {}
    for name, make in task_makers.items():
        try:
            found = make()
        except DataError as error:
            print(f"{task.name}: {error}")
            continue
        tasks |= (
            {name: found}
            if isinstance(found, EvaluationTask)
            else {f"{name}, {part}": one for part, one in found.items()}
        )
    return tasks


def _sample_candidates(task: EvaluationTask) -> Candidates:
    rng = np.random.default_rng(SEED)
    sampled = []
    for row in range(len(task.user_rows)):
        allowed = task.candidates.copy()
        allowed[task.histories[row : row + 1].item_columns] = False
        allowed[task.relevant.indices[task.relevant.indptr[row] : task.relevant.indptr[row + 1]]] = False
        others = np.flatnonzero(allowed)
        sampled.append(rng.choice(others, min(N_SAMPLED, len(others)), replace=False))
    places = np.repeat(np.arange(len(sampled)), [len(columns) for columns in sampled])
    return shuffled_candidates(task, places, np.concatenate(sampled).astype(np.int64), SEED)
