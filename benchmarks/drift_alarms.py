"""Measures how often the drift report alarms without a shift, and how often with one (docs/decisions/0006).

    python benchmarks/drift_alarms.py [--only still market] [--quick] [--json]

Each window is checked as the asset drift_report does it, without Evidently's page: for drift of the columns, and for a
broken feed. A row is a share of windows, with its exact (Clopper-Pearson) 95 % interval. Markets:
- still market: every window is a new draw from one distribution, with a long tail, orders of several lines and items
  that do not change. A shift or a fault is put into the newest window and counts as found if its column alarms.
- custom_b2b: consecutive windows of 30 days of the simulated market, a tenth of its size, with launches and seasons.
- online_retail (TRADEWIND_REAL_DATA): each order gets the time of another order, so that there can be no shift; and its
  consecutive windows of 14 days, where there may be one. Shifts and faults are put into the newest five of them.

Each market's rows are kept in .bench/ when they are finished, so an interrupted run continues where it stopped.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from measuring import result_table
from measuring.disk_cache import code_version, kept_json, key_of
from measuring.synthetic.still_market import Change, StillMarket, faults, shifts
from scipy.stats import binomtest

import monitoring
from monitoring.drift.feed import find_feed_problems
from monitoring.drift.report import ALARM_RATE, verdicts
from monitoring.drift.shift import encode
from recommenders.datasets.all_datasets import dataset
from recommenders.datasets.spec import Tables
from recommenders.events.item_states import items_as_of
from recommenders.splitting.temporal import newest_window

STILL, B2B, RETAIL = MARKETS = ("still market", "custom_b2b", "online_retail")
DAYS, PAST_DAYS, ORDERS_A_DAY = 14, 126, 30
N_STILL, N_SHIFTED, N_RANDOM, N_REAL_SHIFTED = 200, 20, 30, 5
N_WORLDS, WORLD_SCALE, WORLD_DAYS = 5, 0.1, 30
HISTORY_DAYS = 120  # before the first of the consecutive windows
Fired = dict[str, list[str]]  # "drift", "feed" -> columns


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=MARKETS, default=MARKETS, help="markets to measure")
    options = parser.parse_args()
    started = time.perf_counter()
    missing = [RETAIL] if RETAIL in options.only and real_folder() is None else []
    rows = []
    print(result_table.HEAD)
    for market in options.only:
        if market in missing or (options.quick and market != STILL):
            continue
        key = key_of("drift_alarms", market, code_hash(), options.quick)
        measured = kept_json(key, partial(measure_market, market, options.quick))
        rows += measured
        for line in measured:
            result_table.show(line)
    for market in missing:
        print(f"{market}: not measured; set TRADEWIND_REAL_DATA to a folder that contains it")
    whole = not options.quick and not missing and set(options.only) == set(MARKETS)
    result_table.finish("drift_alarms", rows, started, options.as_json, {}, whole)


def measure_market(market: str, quick: bool) -> list[dict[str, Any]]:
    """The rows of one market."""
    if market == STILL:
        return still_market(*((2, 1) if quick else (N_STILL, N_SHIFTED)))
    return custom_b2b() if market == B2B else online_retail()


def code_hash() -> str:
    """A hash of all code that the figures depend on."""
    here = [
        *Path(monitoring.__file__).parent.glob("*.py"),
        Path(__file__),
        Path(__file__).parent / "measuring" / "synthetic" / "still_market.py",
    ]
    return code_version() + hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here))).hexdigest()


# -- alarms


def fired(reference: pa.Table, newest: pa.Table, items: pa.Table, users: pa.Table, seed: int) -> Fired:
    """The columns that drifted, and the columns with a broken feed."""
    log = encode(reference, newest, items_as_of(items, pc.max(newest["timestamp"]).as_py()), users)
    columns, _, _ = verdicts(log, np.random.default_rng(seed))
    broken = find_feed_problems(reference, newest, items, users)
    return {"drift": [c.name for c in columns if c.drifted], "feed": [fault.column for fault in broken]}


def false_alarms(what: str, found: list[Fired], no_shift: bool = True) -> list[dict[str, Any]]:
    """A row for drift and a row for broken feeds. no_shift: there can be no shift, so the alarm rate must hold."""
    names = {"drift": "drift", "feed": "broken feed"}
    return [
        share_row(
            f"{what}: false alarms, {names[kind]}" if no_shift else f"{what}: alarms, {names[kind]}",
            sum(bool(each[kind]) for each in found),
            len(found),
            floor=no_shift,
        )
        for kind in names
    ]


def share_row(what: str, n: int, of: int, floor: bool = False) -> dict[str, Any]:
    """A row: n of `of` windows. Floor: the alarm rate that is set is not below the interval."""
    interval = binomtest(n, of).proportion_ci()
    line = result_table.row(what, "share of windows", n / of)
    line |= {"interval": [round(interval.low, 4), round(interval.high, 4)], "n": n, "of": of}
    if floor:
        line |= {"floor": ALARM_RATE, "floor_met": bool(interval.low <= ALARM_RATE), "bounds": "interval's low end"}
    return {**line, "note": f"{n} of {of}, [{interval.low:.3f}, {interval.high:.3f}]"}


# -- the markets


def still_market(n_still: int, n_shifted: int) -> list[dict[str, Any]]:
    market = StillMarket(seed=0)

    def window(seed: int, change: Change | None = None) -> Fired:
        rng = np.random.default_rng(seed)
        log = market.log(rng, PAST_DAYS + DAYS, ORDERS_A_DAY)
        reference, newest = newest_window(log, DAYS)
        newest = change(newest, reference, market.items, rng) if change else newest
        return fired(reference, newest, market.items, market.users, seed)

    rows = false_alarms(STILL, [window(seed) for seed in range(n_still)])
    for kind, changes in {"drift": shifts(), "feed": faults()}.items():
        for name, (column, change) in changes.items():
            hits = sum(column in window(10_000 + seed, change)[kind] for seed in range(n_shifted))
            rows.append(share_row(f"{STILL}, found: {name}", hits, n_shifted))
    return rows


def custom_b2b() -> list[dict[str, Any]]:
    spec, found = dataset(B2B), []
    for seed in range(N_WORLDS):
        with tempfile.TemporaryDirectory() as folder:
            spec.make(Path(folder) / "world", WORLD_SCALE, seed)
            found += [
                fired(*parts, seed) for parts in consecutive_windows(spec.read(Path(folder) / "world"), WORLD_DAYS)
            ]
    return false_alarms(f"{B2B}, {N_WORLDS} markets, consecutive windows", found, no_shift=False)


def online_retail() -> list[dict[str, Any]]:
    folder = real_folder()
    assert folder is not None
    log = dataset(RETAIL).read(folder)
    rows = false_alarms(
        f"{RETAIL}, each order at another's time",
        [fired(*shuffled_orders(log, seed), seed) for seed in range(N_RANDOM)],
    )
    alarms = [fired(*parts, 0) for parts in consecutive_windows(log, DAYS)]
    rows += false_alarms(f"{RETAIL}, consecutive windows", alarms, no_shift=False)
    newest_ones = list(islice(consecutive_windows(log, DAYS), N_REAL_SHIFTED))
    for kind, changes in {"drift": shifts(), "feed": faults()}.items():
        for name, (column, change) in changes.items():
            if column == "category":  # online_retail has no categories
                continue
            hits = 0
            for reference, newest, items, users in newest_ones:
                changed = change(newest, reference, items, np.random.default_rng(0))
                hits += column in fired(reference, changed, items, users, 0)[kind]
            rows.append(share_row(f"{RETAIL}, found: {name}", hits, N_REAL_SHIFTED))
    return rows


def real_folder() -> Path | None:
    """The folder of online_retail; None if it is missing."""
    folder = Path(os.environ.get("TRADEWIND_REAL_DATA") or "nowhere") / RETAIL
    return folder if folder.is_dir() else None


def consecutive_windows(log: Tables, days: int) -> Iterator[tuple[pa.Table, pa.Table, pa.Table, pa.Table]]:
    """(reference, newest, items, users) of each window of the log, newest first, until HISTORY_DAYS are left.

    The reference is everything before the window.
    """
    times = log.interactions["timestamp"].cast(pa.int64()).to_numpy()
    end, day = times.max(), 86_400_000_000
    while end - times.min() > (HISTORY_DAYS + days) * day:
        reference, newest = newest_window(log.interactions.filter(pa.array(times <= end)), days)
        yield reference, newest, log.items, log.users
        end -= days * day


def shuffled_orders(log: Tables, seed: int) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """(reference, newest, items, users) of a log in which each order has the time of another order."""
    orders = pc.fill_null(log.interactions["order_id"], "").combine_chunks().dictionary_encode().indices.to_numpy()
    times = log.interactions["timestamp"].cast(pa.int64()).to_numpy()
    of_order = times[np.unique(orders, return_index=True)[1]]
    shuffled = pa.array(np.random.default_rng(seed).permutation(of_order)[orders])
    place = log.interactions.column_names.index("timestamp")
    field = log.interactions.schema.field("timestamp")
    mixed = log.interactions.set_column(place, field, shuffled.cast(field.type)).sort_by("timestamp")
    return *newest_window(mixed, DAYS), log.items, log.users


if __name__ == "__main__":
    main()
