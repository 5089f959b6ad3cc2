"""Does the gate hold back what is worse, and let pass what is not? Retrainings of a small market, whole, one by one.

    python benchmarks/gate_drill.py [--worlds 5] [--json]
    python benchmarks/gate_drill.py --refits online_retail custom_b2b   # what sound refits share with judged models

In each world a champion is released. Then come ten retrainings made worse on purpose, by code or by configuration, and
three of unchanged quality; many of them on a log that is a week or two longer. Five with other seeds follow in one
large market: another seed's lists differ a little for everybody, and the interval of that difference is wider than the
gate's margin among the 300 users of a small market. Code is changed for real: what a model does while it learns or
answers is replaced, and the fingerprint of the code with it. Each retraining is the platform's own run from the source
to the gate, with its checks. What is finished stays in `.bench/`, so a drill that was cut goes on.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from measuring.kept import code_version, kept_facts, key_of
from measuring.table import HEAD, arguments, finish, row, show
from peers.environments import place
from scipy.sparse import csr_array

from orchestration.assets import release as release_assets
from orchestration.runs import materialise, upstream
from orchestration.settings import Settings
from orchestration.source import take_in
from recommenders.datasets.catalog import dataset
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.splits import training_log
from recommenders.errors import TradewindError
from recommenders.evaluation.lists import bytes_on_disk
from recommenders.evaluation.questions import question_of
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.models.collaborative_filtering import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.hybrid import Hybrid
from recommenders.models.neural_collaborative import NeuralCollaborative
from recommenders.training import configuration
from recommenders.training.training import fit_recipe, refit
from serving.refit import RefitLimits, measure
from serving.registry import Registry

WEEKS = 2  # at the end of the log, of which the champion has not seen anything
MEMBERS = (ContentBased, CollaborativeFiltering, NeuralCollaborative)
CONFIG: dict[str, Any] = {
    "models": {
        "content_based": {},
        "collaborative_filtering": {},
        "neural_collaborative": {"embedding_dim": 16, "hidden_layers": [16], "epochs": 12, "half_life_share": None},
        "hybrid": {
            "model_weights": {"content_based": 0.3, "collaborative_filtering": 0.5, "neural_collaborative": 0.2}
        },
        "reorder": {"enabled": False},
        "linear_items": {"enabled": False},
        "implicit_factors": {"enabled": False},
        "sequential": {"enabled": False},
        "hybrid_learned": {"enabled": False},
    },
    "evaluation": {"n_bootstrap": 200},
}

Fit = Callable[..., None]
Change = Callable[[Interactions, ItemFeatures | None], tuple[Interactions, ItemFeatures | None]]


@dataclass(frozen=True)
class Retraining:
    """One retraining: settings on top of CONFIG, or code that is replaced while it runs."""

    name: str
    worse: bool
    settings: Mapping[str, Mapping[str, Any]] | None = None
    code: Callable[[], Any] | None = None  # a context in which the library is another one
    weeks: int | None = None  # of data more than the champion has, 0 to 2; None: none or one, in turn


# -- what is done to the code


@contextmanager
def other_learning(change: Change, *models: type) -> Iterator[None]:
    """Models learn from something else than the log they are given; what they remember of it is untouched."""

    def spoilt(learn: Fit) -> Fit:
        def fit(self: Any, log: Interactions, features: ItemFeatures | None, tracker: Any) -> None:
            learn(self, *change(log, features), tracker)

        return fit

    replaced = [patch.object(model, "_fit", spoilt(model._fit)) for model in models or MEMBERS]  # type: ignore[attr-defined]
    for one in replaced:
        one.start()
    try:
        yield
    finally:
        for one in replaced:
            one.stop()


@contextmanager
def other_scores(change: Callable[[Any], Any]) -> Iterator[None]:
    """The blend answers with other scores."""
    score = Hybrid.score
    with patch.object(Hybrid, "score", lambda self, rows, histories: change(score(self, rows, histories))):
        yield


@contextmanager
def other_refit() -> Iterator[None]:
    """The model that is judged is sound; the one that would serve has learned from shuffled items."""
    sound = release_assets.refit

    def spoilt(*given: Any) -> Any:
        with other_learning(shuffled_items):
            return sound(*given)

    with patch.object(release_assets, "refit", spoilt):
        yield


@contextmanager
def same_code() -> Iterator[None]:
    """Nothing is done: code that was only written otherwise."""
    yield


def shuffled_items(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    order = np.random.default_rng(1).permutation(len(log.items)).astype(np.int32)
    return replace(log, item_columns=order[log.item_columns]), features


def shuffled_users(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    return replace(log, user_rows=np.random.default_rng(1).permutation(log.user_rows)), features


def next_item(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    return replace(log, item_columns=(log.item_columns + 1) % np.int32(len(log.items))), features


def old_data(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    return log.select(log.timestamps < np.quantile(log.timestamps, 0.1)), features


def no_features(log: Interactions, features: ItemFeatures | None) -> tuple[Interactions, ItemFeatures | None]:
    if features is None:
        return log, None
    shape = features.vectors.shape
    blind = csr_array(np.eye(1, shape[1], dtype=np.float32).repeat(shape[0], axis=0))
    return log, replace(features, vectors=blind, states=None)


def noisy(scores: Any) -> Any:
    return scores + np.random.default_rng(1).normal(0, scores.std(), scores.shape).astype(np.float32)


RETRAININGS = (
    Retraining("items shuffled while learning", True, code=lambda: other_learning(shuffled_items)),
    Retraining("users shuffled while learning", True, code=lambda: other_learning(shuffled_users)),
    Retraining("items off by one", True, code=lambda: other_learning(next_item)),
    Retraining("learns from old data", True, code=lambda: other_learning(old_data)),
    Retraining(
        "content alone, its features dropped",
        True,
        {"hybrid": {"model_weights": {"content_based": 1.0}}, "content_based": {"own_share": 0.0}},
        lambda: other_learning(no_features),
    ),
    Retraining("scores of the wrong sign", True, code=lambda: other_scores(np.negative)),
    Retraining("noise in the scores", True, code=lambda: other_scores(noisy)),
    Retraining(
        "the network alone, too few epochs",
        True,
        {
            "neural_collaborative": {"epochs": 1, "learning_rate": 1e-5},
            "hybrid": {"model_weights": {"neural_collaborative": 1.0}},
        },
    ),
    Retraining("one neighbour", True, {"collaborative_filtering": {"n_neighbours": 1}}),
    Retraining("refit on shuffled items", True, code=other_refit),
    Retraining("same recipe, newer data", False, weeks=1),
    Retraining("code written otherwise", False, code=same_code, weeks=1),
    Retraining("code written otherwise, newer data", False, code=same_code, weeks=2),
)
OTHER_SEEDS = tuple(
    Retraining(f"another seed: {seed}", False, {"neural_collaborative": {"seed": seed}}, weeks=seed % (WEEKS + 1))
    for seed in range(7, 12)
)


# -- one retraining


def retrain(home: Path, source: Path, retraining: Retraining | None, config: Path) -> dict[str, Any]:
    """Whether the gate promoted it, why (not), and how its recipe compared. None: the first release."""
    settings = Settings.read(home=home, dataset="custom_b2b", source=source, config=config)
    registry, stopped = Registry(settings), ""
    before = registry.pointer("custom_b2b")
    code = retraining.code if retraining else None
    fingerprint = f"{configuration.code_fingerprint()} {retraining.name if retraining and code else ''}"
    started = time.process_time()
    with (code or same_code)(), patch.object(configuration, "code_fingerprint", lambda: fingerprint.strip()):
        try:
            materialise(settings, upstream(settings, "champion"))
        except TradewindError as error:
            stopped = str(error)
    after = registry.pointer("custom_b2b")
    newest = registry.versions("custom_b2b")[0]
    record = yaml.safe_load(newest.tags.get("gate_record", "{}")) if not stopped else {}
    return {
        "promoted": after is not None and (before is None or after.version != before.version),
        "reasons": [stopped] if stopped else record.get("reasons", []),
        "versus_champion": record.get("versus_champion") or {},
        "seconds": round(time.process_time() - started, 1),
    }


def configured(folder: Path, retraining: Retraining | None) -> Path:
    """The training configuration of a retraining, written out."""
    given = retraining.settings if retraining else None
    models = {name: {**section, **(given or {}).get(name, {})} for name, section in CONFIG["models"].items()}
    path = folder / f"{key_of(models)}.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"models": models}))
    return path


def sources(folder: Path, scale: float, seed: int) -> list[Path]:
    """Folders of the market's files: without its last two weeks, without the last one, and whole."""
    whole = folder / f"week{WEEKS}"
    dataset("custom_b2b").make(whole, scale, seed)
    for week in range(WEEKS):
        if (part := folder / f"week{week}").exists():
            continue
        shutil.copytree(whole, staging := folder / "staging", dirs_exist_ok=True)
        orders = pq.read_table(whole / "order_lines.parquet")
        moment = next(field.name for field in orders.schema if str(field.type).startswith("timestamp"))
        until = pc.max(orders[moment]).as_py() - timedelta(weeks=WEEKS - week)
        pq.write_table(orders.filter(pc.less_equal(orders[moment], until)), staging / "order_lines.parquet")
        staging.rename(part)
    return [folder / f"week{week}" for week in range(WEEKS + 1)]


def world(seed: int, scale: float, retrainings: tuple[Retraining, ...]) -> list[tuple[Retraining, dict[str, Any]]]:
    """All retrainings of one market against one champion."""
    key = key_of("gate_drill", code_version(), CONFIG, scale, seed)
    home = place() / "gate_drill" / key
    home.mkdir(parents=True, exist_ok=True)
    weeks = sources(home, scale, seed)
    kept_facts(key_of(key, "first"), lambda: retrain(home, weeks[0], None, configured(home, None)))
    done = []
    for number, one in enumerate(retrainings):
        source = weeks[(number + seed) % 2 if one.weeks is None else one.weeks]
        found = kept_facts(key_of(key, one.name), lambda: retrain(home, source, one, configured(home, one)))  # noqa: B023
        print(f"  world {seed}  {one.name:<36} {outcome(one, found)}", flush=True)
        done.append((one, found))
    return done


def outcome(one: Retraining, found: Mapping[str, Any]) -> str:
    """What happened, in words."""
    right = found["promoted"] != one.worse
    versus = found["versus_champion"]
    compared = f" {versus['difference']:+.4f} [{versus['low']:+.4f}, {versus['high']:+.4f}]" if versus else ""
    told = "promoted" if found["promoted"] else f"held: {found['reasons'][-1] if found['reasons'] else ''}"
    return f"{'' if right else 'WRONG: '}{told}{compared}  {found['seconds']:.0f} s"


def refit_rows(name: str) -> list[dict[str, Any]]:
    """How alike each model's refit is to the model that was judged, on a whole data set; networks are left out."""
    home = place() / "gate_drill" / name
    home.mkdir(parents=True, exist_ok=True)
    settings = Settings.read(home=home, dataset=name)
    version = take_in(settings)
    interactions, items = (settings.tables.read(table, version) for table in ("interactions", "items"))
    models = {"neural_collaborative": {"enabled": False}, "sequential": {"enabled": False}}
    models["hybrid"] = {"model_weights": {"content_based": 0.5, "collaborative_filtering": 0.5}}  # type: ignore[dict-item]
    config = configuration.TrainingConfig.model_validate({"models": models})
    question = question_of(interactions, items, settings.spec.protocol)
    log = training_log(interactions, items, settings.spec.protocol)
    features = encode_items_as_of(items, log.items, log.last_event)
    rows = []
    for model, judged in fit_recipe(config, question.log, question.features).items():
        with TemporaryDirectory() as folder:
            bundle = refit(model, config, log, features, {model: judged, **getattr(judged, "members_", {})}).save(
                Path(folder) / "bundle"
            )
            found = measure(bundle, judged, question.lists(judged), bytes_on_disk(judged) / 1e6, question, log)
        more = {"difference": [found.difference, found.low, found.high], "chance": found.chance}
        rows.append(
            row(f"{name}, places a refit shares, {model}", "share", found.overlap, floor=RefitLimits().overlap, **more)
        )
        show(rows[-1])
    return rows


def main() -> None:
    """Prints what became of each retraining, and how many were promoted."""
    parser = arguments(__doc__)
    parser.add_argument("--worlds", type=int, default=5, help="markets, each with a champion and 13 retrainings")
    parser.add_argument("--scale", type=float, default=0.5, help="size of a market: 1 is 2,000 buyers")
    parser.add_argument("--large", type=float, default=3.0, help="size of the market of other seeds")
    parser.add_argument("--refits", nargs="+", metavar="DATASET", help="only compare refits with judged models there")
    options = parser.parse_args()
    started = time.perf_counter()
    logging.disable(logging.WARNING)
    if options.refits:
        print(HEAD)
        compared = [line for name in options.refits for line in refit_rows(name)]
        finish("gate_drill", compared, started, options.as_json, {})
        return
    os.environ.pop("TRADEWIND_DATASETS", None)
    n_worlds, scale = (1, 0.1) if options.quick else (options.worlds, options.scale)
    retrainings = (RETRAININGS[5], RETRAININGS[11]) if options.quick else RETRAININGS
    found = [one for seed in range(1, n_worlds + 1) for one in world(seed, scale, retrainings)]
    found += [] if options.quick else world(0, options.large, OTHER_SEEDS)
    rows = []
    for worse, what, floor in ((True, "worsened retrainings held back", 1.0), (False, "unchanged ones promoted", 1.0)):
        right = [result["promoted"] != worse for one, result in found if one.worse == worse]
        rows.append(row(f"{what}, of {len(right)}", "share", float(np.mean(right)), floor=floor, count=sum(right)))
    print(HEAD)
    for line in rows:
        show(line)
    finish("gate_drill", rows, started, options.as_json, {})


if __name__ == "__main__":
    main()
