"""Measures one list of one user on one core where the catalogue is large, 200,000 items, and what makes it quick.

    python benchmarks/large_catalogue.py [--items 200000] [--requests 500] [--parts NAME ...] [--quick] [--json]

Parts:
lists    hybrid_learned and each of its base models, measured as in predict_path.py. They are fitted on a made log of
         100,000 users and 1.5 million events, with made features.
scoring  In a large catalogue ials only scores the candidates of the other base models (decision 39). NDCG@10 of
         hybrid_learned on real catalogues with ials as in a large one, against ials as in a small one. The lists are
         evaluated on the window before the test window.
index    A graph index (usearch) over the item factors of ials: the share of the exact top 40 that it finds, and its
         time. Users are 200 of the made log. Needs the part `lists`.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measuring import result_table
from measuring.benchmark_tasks import SEED, MissingData, benchmark_task
from measuring.synthetic.logs import made_features, retailrocket_like
from peers.environments import HERE, PeerError, environment, pinned, python_of
from predict_path import FLAGSHIP, measure
from ranker_trees import measure as quality
from ranker_trees import train_trees

from recommenders.models import all_models
from recommenders.models.all_models import model_class
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.ials import model as ials

N_ITEMS, QUICK_ITEMS = 200_000, 1_000
FLOOR_MS = 6.0  # of hybrid_learned, per request
USERS_PER_ITEM, EVENTS_PER_ITEM = 0.5, 7.5
N_INDEX_USERS = 200
REAL = ("custom_b2b", "online_retail")
VIEWS = ("all", "discovery")
PARTS = ("lists", "scoring", "index")


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--items", type=int, default=N_ITEMS, help="number of items of the catalogue")
    parser.add_argument("--requests", type=int, default=500, help="number of requests of each kind")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    started = time.perf_counter()
    n_items = QUICK_ITEMS if options.quick else options.items
    peers = [] if options.no_peers else ["usearch"]
    print(result_table.HEAD)
    rows = []
    with TemporaryDirectory() as folder:
        if "lists" in options.parts:
            bundles = make_bundles(Path(folder), n_items)
            for name, bundle in list(bundles.items())[: 1 if options.quick else None]:
                bounds = {"floor": FLOOR_MS} if name == FLAGSHIP else {}
                rows += measure(name, bundle, 20 if options.quick else options.requests, bounds)
            if "index" in options.parts and peers:
                rows += shown(of_index(bundles["ials"]))
        if "scoring" in options.parts:
            for name in REAL[: 1 if options.quick else None]:
                rows += shown(of_scoring(name, 0.1 if options.quick else 1.0))
    whole = n_items == N_ITEMS and set(options.parts) == set(PARTS) and bool(peers)
    versions = {peer: pinned(peer) for peer in peers}
    result_table.finish("large_catalogue", rows, started, options.as_json, versions, whole)


def shown(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, each printed."""
    for row in rows:
        result_table.show(row)
        yield row


def make_bundles(folder: Path, n_items: int) -> dict[str, Path]:
    """Model -> its bundle: hybrid_learned and its base models, fitted with their default configurations."""
    log = retailrocket_like(round(USERS_PER_ITEM * n_items), n_items, round(EVENTS_PER_ITEM * n_items))
    model = model_class(FLAGSHIP)().fit(log, made_features(n_items))
    assert isinstance(model, Ensemble)
    models = {FLAGSHIP: model, **model.base_models_}
    return {name: one.save(folder / name) for name, one in models.items()}


def of_scoring(name: str, scale: float) -> Iterator[dict[str, Any]]:
    """A row for each view: ials scores candidates only, against ials that also proposes them."""
    try:
        task = benchmark_task(name, validation=True, scale=scale if name == "custom_b2b" else 1.0)
    except MissingData as error:
        print(f"{name}: {error}")
        return
    limit, found = ials.MAX_CHEAP_FACTORS, {}
    try:
        for ials.MAX_CHEAP_FACTORS in (limit, 0):
            found[ials.MAX_CHEAP_FACTORS] = quality(task, train_trees, SEED)
    finally:
        ials.MAX_CHEAP_FACTORS = limit
    for view in VIEWS:
        what = f"{task.name}, {view}: ials scores candidates"
        yield result_table.row(what, "NDCG@10", found[0][view], ("ials proposes, too", found[limit][view]))


def of_index(bundle: Path) -> Iterator[dict[str, Any]]:
    """The recall and the time of each search over the item factors of ials."""
    model = all_models.load(bundle)
    assert isinstance(model, ials.IALS)
    active = np.flatnonzero(model.histories_.counts > 0)
    chosen = np.random.default_rng(SEED).choice(active, min(N_INDEX_USERS, len(active)), replace=False)
    with TemporaryDirectory() as folder:
        users = np.concatenate([model.user_factors(model.histories_[[user]]) for user in chosen])
        np.savez(Path(folder) / "factors.npz", items=model.item_factors_, users=users)
        try:
            command = [str(python_of("usearch")), str(HERE / "usearch" / "run.py"), folder]
        except PeerError as error:
            print(error)
            return
        done = subprocess.run(command, env=environment(1), check=True, stdout=subprocess.PIPE, text=True)
    for way, found in json.loads(done.stdout.splitlines()[-1]).items():
        yield result_table.row(f"ials, {way}: recall of the best 40", "share", found["recall"])
        yield result_table.row(f"ials, {way}: time", "ms", found["ms"], lower_is_better=True)


if __name__ == "__main__":
    main()
