"""Does the gate hold back what is worse, and let pass what is not? Retrainings of a small market, whole, one by one.

    python benchmarks/gate_drill.py [--worlds 5] [--json]
    python benchmarks/gate_drill.py --refits online_retail custom_b2b   # what sound refits share with judged models

In each world a champion is released. Then come ten retrainings made worse on purpose, by code or by configuration, and
three of unchanged quality; many of them on a log that is a week or two longer. Five with other seeds follow in one
large market: another seed's lists differ a little for everybody, and the interval of that difference is wider than the
gate's margin among the 500 users of a small market. Code is changed for real: what a model does while it learns or
answers is replaced, and the fingerprint of the code with it. Each retraining is the platform's own run from the source
to the gate, with its checks. Where one that was meant to be worse is promoted, the market's own law says whether it is:
its lists' expected DCG@10 is compared with that of the sound recipe. What is finished stays in `.bench/`, so a drill
that was cut goes on.
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
from measuring.kept import code_version, kept_facts, key_of
from measuring.market_truth import bought_within, expected_dcg
from measuring.retrainings import CONFIG, OTHER_SEEDS, RETRAININGS, WEEKS, Retraining, same_code
from measuring.table import HEAD, arguments, finish, row, show
from peers.environments import place

from orchestration.assets.source import take_in
from orchestration.launcher.runs import materialise, upstream
from orchestration.settings import Settings
from recommenders.datasets.catalog import dataset
from recommenders.errors import TradewindError
from recommenders.evaluation.comparison import mean_interval
from recommenders.evaluation.rank import bytes_on_disk
from recommenders.evaluation.window import question_of
from recommenders.features.items import encode_items_as_of
from recommenders.splitting.temporal import training_log
from recommenders.training import configuration
from recommenders.training.fitting import fit_recipe, refit
from serving.release.refit import RefitLimits, measure
from serving.release.registry import Registry


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


def true_change(seed: int, scale: float, source: Path, one: Retraining) -> dict[str, float]:
    """What a retraining changes of the sound recipe's expected DCG@10, as a share of it, with its interval.

    Both recipes learn what lies before the test window of the source, a market of that scale and seed.
    """
    with TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings.read(home=home, dataset="custom_b2b", source=source, config=configured(home, one))
        (interactions, items), recipe, protocol = tables_of(settings), settings.training, settings.spec.protocol
    question = question_of(interactions, items, protocol)
    sound = fit_recipe(configuration.TrainingConfig.model_validate(CONFIG), question.log, question.features)["hybrid"]
    with (one.code or same_code)():
        changed = fit_recipe(recipe, question.log, question.features)["hybrid"]
        lists = question.lists(changed)
    cut = pc.max(interactions["timestamp"]).as_py() - timedelta(days=protocol.test_days)
    bought = bought_within(scale, seed, question, cut, protocol.test_days)
    before = expected_dcg(question.lists(sound), bought)
    change = mean_interval((expected_dcg(lists, bought) - before) / before.mean())
    return change._asdict()


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
        if one.worse and found["promoted"]:
            true = kept_facts(key_of(key, one.name, "truth"), lambda: true_change(seed, scale, source, one))  # noqa: B023
            found |= {"world": seed, "true": true}
        done.append((one, found))
    return done


def outcome(one: Retraining, found: Mapping[str, Any]) -> str:
    """What happened, in words."""
    right = found["promoted"] != one.worse
    versus = found["versus_champion"]
    compared = f" {versus['difference']:+.4f} [{versus['low']:+.4f}, {versus['high']:+.4f}]" if versus else ""
    told = "promoted" if found["promoted"] else f"held: {found['reasons'][-1] if found['reasons'] else ''}"
    return f"{'' if right else 'WRONG: '}{told}{compared}  {found['seconds']:.0f} s"


def tables_of(settings: Settings) -> tuple[pa.Table, pa.Table]:
    """A source's interactions and items, taken in."""
    version = take_in(settings)
    return settings.tables.read("interactions", version), settings.tables.read("items", version)


def refit_rows(name: str) -> list[dict[str, Any]]:
    """How alike each model's refit is to the model that was judged, on a whole data set; networks are left out."""
    home = place() / "gate_drill" / name
    home.mkdir(parents=True, exist_ok=True)
    settings = Settings.read(home=home, dataset=name)
    interactions, items = tables_of(settings)
    models = {"neural_collaborative": {"enabled": False}, "sasrec": {"enabled": False}}
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
    for one, result in found:
        if true := result.get("true"):
            what = f"promoted, world {result['world']}, {one.name}: true change of DCG@10"
            rows.append(row(what, "share", true["value"], difference=[true["value"], true["low"], true["high"]]))
    print(HEAD)
    for line in rows:
        show(line)
    whole = not options.quick and (options.worlds, options.scale, options.large) == (5, 0.5, 3.0)
    finish("gate_drill", rows, started, options.as_json, {}, whole)


if __name__ == "__main__":
    main()
