"""Measures whether the release gate holds worse retrainings and promotes equally good ones, on simulated markets.

    python benchmarks/gate_drill.py [--worlds 5] [--json]
    python benchmarks/gate_drill.py --refits online_retail custom_b2b   # overlap of refits with evaluated models

In each market a champion is released. Then follow ten retrainings that are worse on purpose, by code or by
configuration, and three of unchanged quality; many of them use a log that is one or two weeks longer. Five retrainings
with other seeds follow in one large market: with another seed the lists of all users differ a little, and with the 500
users of a small market the interval of that difference is wider than the gate's margin. The code is really changed: the
fit or score method of a model is replaced, and the fingerprint of the code with it. Each retraining is a complete run
of the platform from the source to the gate, with its checks. If a worse retraining is promoted, the true purchase
probabilities of the market show whether it is really worse: the expected DCG@10 of its lists is compared with that of
the sound recipe. Finished results are kept in `.bench/`, so an interrupted drill continues where it stopped.
"""

import logging
import os
import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from measuring.disk_cache import code_version, kept_json, key_of
from measuring.result_table import HEAD, arguments, finish, row, show
from measuring.retrainings import CONFIG, OTHER_SEEDS, RETRAININGS, WEEKS, Retraining, same_code
from measuring.synthetic.market_truth import expected_dcg, window_probabilities
from peers.environments import place

from orchestration.launcher.runs import materialise, upstream
from orchestration.resources import Dataset
from orchestration.settings import Settings
from recommenders.datasets.all_datasets import dataset
from recommenders.errors import TradewindError
from recommenders.evaluation.rank import bytes_on_disk, context_bytes
from recommenders.evaluation.statistics.comparison import mean_interval
from recommenders.evaluation.window_task import window_task
from recommenders.features.items import encode_items_as_of
from recommenders.splitting.temporal import training_log
from recommenders.training import configuration
from recommenders.training.fitting import fit_recipe
from serving.release.refit import RefitLimits, measure
from serving.release.registry import Registry


def run_retraining(home: Path, source: Path, retraining: Retraining | None, config: Path) -> dict[str, Any]:
    """Runs one retraining: whether the gate promoted it, its reasons, and the comparison with the champion.

    retraining: None for the first release.
    """
    settings = Settings.read(home=home, dataset="custom_b2b", source=source, config=config)
    registry, error_text = Registry(settings), ""
    before = registry.pointer("custom_b2b")
    code = retraining.code if retraining else None
    fingerprint = f"{configuration.code_fingerprint()} {retraining.name if retraining and code else ''}"
    started = time.process_time()
    with (code or same_code)(), patch.object(configuration, "code_fingerprint", lambda: fingerprint.strip()):
        try:
            materialise(settings, upstream(settings, "champion"))
        except TradewindError as error:
            error_text = str(error)
    after = registry.pointer("custom_b2b")
    newest = registry.versions("custom_b2b")[0]
    record = (newest.gate_record or {}) if not error_text else {}
    return {
        "promoted": after is not None and (before is None or after.version != before.version),
        "reasons": [error_text] if error_text else record.get("reasons", []),
        "versus_champion": record.get("versus_champion") or {},
        "seconds": round(time.process_time() - started, 1),
    }


def write_config(folder: Path, retraining: Retraining | None) -> Path:
    """Writes the training configuration of a retraining; returns its path."""
    given = retraining.settings if retraining else None
    models = {name: {**section, **(given or {}).get(name, {})} for name, section in CONFIG["models"].items()}
    path = folder / f"{key_of(models)}.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"models": models}))
    return path


def make_sources(folder: Path, scale: float, seed: int) -> list[Path]:
    """Folders with the market's files: without the last two weeks, without the last week, and complete."""
    whole = folder / f"week{WEEKS}"
    dataset("custom_b2b").make(whole, scale, seed)
    for week in range(WEEKS):
        if (part := folder / f"week{week}").exists():
            continue
        shutil.copytree(whole, staging := folder / "staging", dirs_exist_ok=True)
        orders = pq.read_table(whole / "order_lines.parquet")
        time_column = next(field.name for field in orders.schema if str(field.type).startswith("timestamp"))
        end = pc.max(orders[time_column]).as_py() - timedelta(weeks=WEEKS - week)
        pq.write_table(orders.filter(pc.less_equal(orders[time_column], end)), staging / "order_lines.parquet")
        staging.rename(part)
    return [folder / f"week{week}" for week in range(WEEKS + 1)]


def true_change(seed: int, scale: float, source: Path, retraining: Retraining) -> dict[str, float]:
    """The change of the expected DCG@10 by a retraining, as a share of the sound recipe's, with its interval.

    Both recipes are fitted on the log before the test window of the source, which is the market of this scale and seed.
    """
    with TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings.read(home=home, dataset="custom_b2b", source=source, config=write_config(home, retraining))
        (interactions, items), recipe, protocol = tables_of(settings), settings.training, settings.spec.protocol
    task = window_task(interactions, items, protocol)
    sound = fit_recipe(configuration.TrainingConfig.model_validate(CONFIG), task.log, task.features)["hybrid"]
    with (retraining.code or same_code)():
        changed = fit_recipe(recipe, task.log, task.features)["hybrid"]
        lists = task.lists(changed)
    cut = pc.max(interactions["timestamp"]).as_py() - timedelta(days=protocol.test_days)
    bought = window_probabilities(scale, seed, task.task, task.log.items, cut, protocol.test_days)
    before = expected_dcg(task.lists(sound), bought)
    change = mean_interval((expected_dcg(lists, bought) - before) / before.mean())
    return change._asdict()


def run_market(seed: int, scale: float, retrainings: tuple[Retraining, ...]) -> list[tuple[Retraining, dict[str, Any]]]:
    """Runs all retrainings of one market against one champion."""
    key = key_of("gate_drill", code_version(), CONFIG, scale, seed)
    home = place() / "gate_drill" / key
    home.mkdir(parents=True, exist_ok=True)
    weeks = make_sources(home, scale, seed)
    kept_json(key_of(key, "first"), lambda: run_retraining(home, weeks[0], None, write_config(home, None)))
    done = []
    for number, retraining in enumerate(retrainings):
        source = weeks[(number + seed) % 2 if retraining.weeks is None else retraining.weeks]
        found = kept_json(
            key_of(key, retraining.name),
            lambda: run_retraining(home, source, retraining, write_config(home, retraining)),  # noqa: B023
        )
        print(f"  market {seed}  {retraining.name:<36} {outcome(retraining, found)}", flush=True)
        if retraining.worse and found["promoted"]:
            true = kept_json(
                key_of(key, retraining.name, "truth"),
                lambda: true_change(seed, scale, source, retraining),  # noqa: B023
            )
            found |= {"world": seed, "true": true}
        done.append((retraining, found))
    return done


def outcome(retraining: Retraining, found: Mapping[str, Any]) -> str:
    """The result of a retraining as text."""
    correct = found["promoted"] != retraining.worse
    versus = found["versus_champion"]
    interval_text = f" {versus['difference']:+.4f} [{versus['low']:+.4f}, {versus['high']:+.4f}]" if versus else ""
    decision = "promoted" if found["promoted"] else f"held: {found['reasons'][-1] if found['reasons'] else ''}"
    return f"{'' if correct else 'WRONG: '}{decision}{interval_text}  {found['seconds']:.0f} s"


def tables_of(settings: Settings) -> tuple[pa.Table, pa.Table]:
    """Ingests a source; returns its (interactions, items)."""
    version = Dataset(settings).ingest()
    return settings.tables.read("interactions", version), settings.tables.read("items", version)


def refit_rows(name: str) -> list[dict[str, Any]]:
    """The overlap of each model's refit with the evaluated model, on a whole data set; networks are left out."""
    home = place() / "gate_drill" / name
    home.mkdir(parents=True, exist_ok=True)
    settings = Settings.read(home=home, dataset=name)
    interactions, items = tables_of(settings)
    models = {"neural_collaborative": {"enabled": False}, "sasrec": {"enabled": False}}
    models["hybrid"] = {"model_weights": {"content_based": 0.5, "collaborative_filtering": 0.5}}  # type: ignore[dict-item]
    config = configuration.TrainingConfig.model_validate({"models": models})
    task = window_task(interactions, items, settings.spec.protocol)
    log = training_log(interactions, items, settings.spec.protocol)
    features = encode_items_as_of(items, log.items, log.last_event)
    rows = []
    for model, evaluated in fit_recipe(config, task.log, task.features).items():
        with TemporaryDirectory() as folder:
            bundle = evaluated.refit(log, features).save(Path(folder) / "bundle")
            megabytes = (bytes_on_disk(evaluated) + context_bytes(evaluated)) / 1e6
            found = measure(bundle, evaluated, task.lists(evaluated), megabytes, task, log)
        more = {"difference": [found.difference, found.low, found.high], "chance": found.random_overlap}
        rows.append(
            row(f"{name}, overlap of the refit, {model}", "share", found.overlap, floor=RefitLimits().overlap, **more)
        )
        show(rows[-1])
    return rows


def main() -> None:
    """Prints the result of each retraining, and how many were promoted."""
    parser = arguments(__doc__)
    parser.add_argument("--worlds", type=int, default=5, help="markets, each with a champion and 13 retrainings")
    parser.add_argument("--scale", type=float, default=0.5, help="size of a market: 1 is 2,000 users")
    parser.add_argument("--large", type=float, default=3.0, help="size of the market for other seeds")
    parser.add_argument("--refits", nargs="+", metavar="DATASET", help="only compare refits, on these data sets")
    options = parser.parse_args()
    started = time.perf_counter()
    logging.disable(logging.WARNING)
    if options.refits:
        print(HEAD)
        compared = [line for name in options.refits for line in refit_rows(name)]
        finish("gate_drill", compared, started, options.as_json, {})
        return
    os.environ.pop("TRADEWIND_DATASETS", None)
    n_markets, scale = (1, 0.1) if options.quick else (options.worlds, options.scale)
    retrainings = (RETRAININGS[5], RETRAININGS[11]) if options.quick else RETRAININGS
    found = [retraining for seed in range(1, n_markets + 1) for retraining in run_market(seed, scale, retrainings)]
    found += [] if options.quick else run_market(0, options.large, OTHER_SEEDS)
    rows = []
    for worse, what, floor in ((True, "worse retrainings held", 1.0), (False, "unchanged retrainings promoted", 1.0)):
        correct = [result["promoted"] != worse for retraining, result in found if retraining.worse == worse]
        rows.append(
            row(f"{what}, of {len(correct)}", "share", float(np.mean(correct)), floor=floor, count=sum(correct))
        )
    for retraining, result in found:
        if true := result.get("true"):
            what = f"promoted, market {result['world']}, {retraining.name}: true change of DCG@10"
            rows.append(row(what, "share", true["value"], difference=[true["value"], true["low"], true["high"]]))
    print(HEAD)
    for line in rows:
        show(line)
    whole = not options.quick and (options.worlds, options.scale, options.large) == (5, 0.5, 3.0)
    finish("gate_drill", rows, started, options.as_json, {}, whole)


if __name__ == "__main__":
    main()
