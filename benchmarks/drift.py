"""Measures false alarms of the drift report, the delay of its alarms, and whether they name the cause.

    python benchmarks/drift.py [--parts false_alarms] [--quick] [--json]

- false_alarms: windows in which no change is put. Small simulated markets (300 users, 500 items, 5,000 order lines a
  week) have weekdays, seasons, launches, price reviews, and users of very different size; so some of their windows do
  change. Windows of a week, and of two days (Monday and Tuesday; the weekend). online_retail (TRADEWIND_REAL_DATA)
  until September, with weeks that end on each weekday. A retraining is needless if the same column drifts in two of
  three windows. The peer is Evidently with its defaults, on windows of the same logs.
- delays: a change begins with a window and stays; the delay is the number of windows until the alarm (1: the first).
  The alarm names the cause if the column (and the category) that it puts first is the changed one, and if no feed
  counts as broken. The same for faults of the feed, of which the alarm must name the column.
- tastes: users of one segment and region exchange their orders, so that no distribution changes: input tests must be
  silent. And the scenario taste_permutation of the market, in which users discover new products afterwards, so that
  inputs do change.
- lists: the test of the served lists, in windows of versions of EASE that serve the same markets for eight weeks each,
  without a change and with one in the fifth week (measuring/drift/served_lists.py).
- quality: the sequential test of a hit rate that falls from .10 to .07.

Development used the markets with seeds below 600; the figures are of seeds 601 and up. The rows of each
market are kept in .bench/ when they are finished, so an interrupted run continues where it stopped.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import result_table
from measuring.disk_cache import code_version, kept_json, key_of
from measuring.drift import evidently_defaults, hit_rates, served_lists
from measuring.drift.logs import RETAIL, RETAIL_END, Log, days_before, online_retail, small_world
from measuring.drift.trials import Alarms, drift_alarms, fault_delays, feed_alarms, market_delays
from measuring.drift.window_changes import faults, market_changes, smaller_changes
from scipy.stats import binomtest

import monitoring
from monitoring.decisions.retraining import lasting
from recommenders.simulation.config import Scenario

SEEDS = range(601, 613)
N_DELAY_SEEDS, ENDS = 10, 3  # markets of the delays, and ends of the log of each
TASTE_SEEDS, TASTE_WEEKS = range(701, 707), 8
LIST_SEEDS, LIST_DELAYS = range(801, 819), 2  # markets, and versions of each that get a change
TASTE_DAY = date(2026, 5, 5)
N_FEED, N_PEER = 25, 4  # windows of each market for the feed, and for Evidently
QUICK_SEEDS, QUICK_ORDERS, QUICK_DAYS = range(1, 2), 6_000, 220
MOST_FALSE, MOST_NEEDLESS, LEAST_NAMED = 0.02, 0.01, 0.95
PROMISED_DELAY, LATEST_DELAY, QUALITY_DELAY = 1.0, 2.0, 3.0


def main() -> None:
    parts = {"false_alarms": false_alarms, "delays": delays, "tastes": tastes, "lists": lists, "quality": quality}
    result_table.run_parts("drift", __doc__, "--parts", parts)


# -- false alarms


def false_alarms(quick: bool) -> Iterator[dict[str, Any]]:
    worlds = [kept("false alarms", seed, quick, partial(world_alarms, seed, quick)) for seed in _seeds(SEEDS, quick)]
    weeks = [world["weeks"] for world in worlds]
    feeds = [world["feed"] for world in worlds]
    peer = [window for world in worlds for window in world["evidently"]]
    default = ("Evidently's defaults", _mean([bool(window["columns"]) for window in peer]))
    yield share("small markets, a week: drift alarms", _flags(weeks), MOST_FALSE, default)
    yield share("small markets, a week: broken-feed alarms", _flags(feeds), MOST_FALSE)
    two_days = _flags([ending for world in worlds for ending in world["two days"]])
    yield share("small markets, two days: drift alarms", two_days, MOST_FALSE)
    half = [window["share"] >= 0.5 for window in peer]
    yield share("small markets: Evidently's defaults, half of the columns", half)
    retraining = [_retrainings(world) for world in weeks]
    retail = None if quick else kept(RETAIL, 0, quick, retail_alarms)
    if retail:
        default = (default[0], _mean([bool(window["columns"]) for window in retail["evidently"]]))
        yield share(f"{RETAIL}, weeks by each weekday: drift alarms", _flags(retail["weeks"]), MOST_FALSE, default)
        yield share(f"{RETAIL}, weeks: broken-feed alarms", _flags([retail["feed"]]), MOST_FALSE)
        retraining += [_retrainings(ending) for ending in retail["weeks"]]
    yield share("all weeks: needless retrainings", [each for world in retraining for each in world], MOST_NEEDLESS)


def world_alarms(seed: int, quick: bool) -> dict[str, Any]:
    log = _world(seed, quick)
    end = float(log.seconds.max())
    n_feed, n_peer = (2, 1) if quick else (N_FEED, N_PEER)
    return {
        "weeks": drift_alarms(log, 7, end),
        "two days": [drift_alarms(log, 2, days_before(end, back)) for back in ((0,) if quick else (0, 2))],
        "feed": feed_alarms(log, n_feed, end),
        "evidently": evidently_defaults.alarms(log, n_peer, end),
    }


def retail_alarms() -> dict[str, Any] | None:
    log = online_retail()
    if log is None:
        print(f"{RETAIL}: not measured; set TRADEWIND_REAL_DATA to a folder that contains it")
        return None
    end = min(RETAIL_END, float(log.seconds.max()))
    return {
        "weeks": [drift_alarms(log, 7, days_before(end, back), first=0) for back in range(7)],
        "feed": feed_alarms(log, 26, end),
        "evidently": evidently_defaults.alarms(log, 26, end),
    }


# -- delays


def delays(quick: bool) -> Iterator[dict[str, Any]]:
    seeds = _seeds(SEEDS[:N_DELAY_SEEDS], quick)
    trials = [trial for seed in seeds for trial in kept("delays", seed, quick, partial(world_delays, seed, quick))]
    named = []
    for kind, promised in (("market", True), ("faults", True), ("smaller", False)):
        for name in trials[0][kind]:
            found = [trial[kind][name] for trial in trials]
            yield from delay_rows(name, found, promised)
            named += [each["named"] for each in found] if promised else []
    yield share("all promised changes: the alarm names the cause", named, LEAST_NAMED, lower_is_better=False)


def delay_rows(name: str, found: Sequence[dict[str, Any]], promised: bool) -> Iterator[dict[str, Any]]:
    """The median and the largest delay of one change, and how often the cause is named. Not found counts as 9."""
    windows = np.array([each["delay"] or 9 for each in found])
    first, named = int((windows == 1).sum()), sum(each["named"] for each in found)
    note = f"{first} of {len(found)} in the first window, {int((windows == 9).sum())} not in three, {named} named"
    bounds = (PROMISED_DELAY, LATEST_DELAY) if promised else (None, None)
    for what, value, floor in zip(("median", "largest"), (np.median(windows), windows.max()), bounds, strict=True):
        line = result_table.row(f"{name}: {what} delay", "windows", float(value), floor=floor, lower_is_better=True)
        yield {**line, "note": note}
        note = ""


def world_delays(seed: int, quick: bool) -> list[dict[str, Any]]:
    log = _world(seed, quick)
    found = []
    for n in range(1 if quick else ENDS):
        end = days_before(float(log.seconds.max()), 35 * n)
        category = log.categories[(seed + n) % len(log.categories)]
        trial_seed = 10 * seed + n
        found.append(
            {
                "market": market_delays(log, end, market_changes(category), trial_seed),
                "faults": fault_delays(log, end, faults(category), trial_seed),
                "smaller": market_delays(log, end, smaller_changes(category), trial_seed),
            }
        )
    return found


# -- tastes and quality


def tastes(quick: bool) -> Iterator[dict[str, Any]]:
    seeds = _seeds(TASTE_SEEDS, quick)
    exchanged = [kept("exchanged", seed, quick, partial(exchange_alarms, seed, quick)) for seed in seeds]
    yield share("histories exchanged within segment and region: input alarms", _flags(exchanged), MOST_FALSE)
    simulated = [kept("tastes", seed, quick, partial(taste_alarms, seed, quick)) for seed in seeds]
    columns = Counter(column for world in simulated for window in world for column in window)
    line = share("simulated exchange of tastes: input alarms", _flags(simulated))
    yield {**line, "note": f"{line['note']}: {', '.join(f'{name} {n}' for name, n in columns.most_common())}"}


def exchange_alarms(seed: int, quick: bool) -> Alarms:
    """The drift alarms of the last TASTE_WEEKS weeks, in which users have the orders of others."""
    log = _world(seed, quick)
    is_late = log.seconds > days_before(float(log.seconds.max()), 7 * TASTE_WEEKS)
    users = log.users.select(["user_id", "segment", "region"]).to_pandas()
    rng = np.random.default_rng([seed, 9])
    other = users.groupby(["segment", "region"])["user_id"].transform(rng.permutation)
    other.index = users["user_id"]
    ids = log.events["user_id"].to_pandas()
    exchanged = pa.array(np.where(is_late, other.reindex(ids).to_numpy(), ids.to_numpy()))
    events = log.events.set_column(0, log.events.schema.field(0), exchanged)
    return drift_alarms(replace(log, events=events), 7, float(log.seconds.max()))[-TASTE_WEEKS:]


def taste_alarms(seed: int, quick: bool) -> Alarms:
    """The drift alarms of the first TASTE_WEEKS weeks after all users exchanged their tastes."""
    log = _world(seed, quick, Scenario("taste_permutation", TASTE_DAY, 1.0))
    return drift_alarms(log, 7, float(log.seconds.max()))[-TASTE_WEEKS:]


def lists(quick: bool) -> Iterator[dict[str, Any]]:
    worlds = [kept("lists", seed, quick, partial(world_lists, seed, quick)) for seed in _seeds(LIST_SEEDS, quick)]
    still = _flags([each for world in worlds for each in world["still"]])
    yield share("served lists, a week: alarms", still, MOST_FALSE)
    named = []
    for kind, promised in (("promised", True), ("smaller", False)):
        trials = [trial for world in worlds for trial in world[kind]]
        for name in trials[0]:
            found = [trial[name] for trial in trials]
            yield from delay_rows(name, found, promised)
            named += [each["named"] for each in found] if promised else []
    yield share("promised changes of lists: the alarm names the figure", named, LEAST_NAMED, lower_is_better=False)


def world_lists(seed: int, quick: bool) -> dict[str, Any]:
    log = _world(seed, quick)
    found: dict[str, Any] = {"still": [], "promised": [], "smaller": []}
    for n, asked in enumerate(served_lists.versions(log)):
        found["still"].append(served_lists.still_alarms(asked, log.items))
        if n < (1 if quick else LIST_DELAYS):
            category = log.categories[(seed + n) % len(log.categories)]
            for kind, changes in (("promised", served_lists.promised), ("smaller", served_lists.smaller)):
                found[kind].append(served_lists.list_delays(asked, log.items, changes(category)))
    return found


def quality(quick: bool) -> Iterator[dict[str, Any]]:
    n_series = 5 if quick else 200
    for n_users in hit_rates.USERS:
        what = f"hit rate of {n_users:,} users, 5,000 lists a window"
        alarms, found = hit_rates.false_alarms(n_users, n_series), hit_rates.delays(n_users, n_series)
        yield share(f"{what}: false alarms", alarms, MOST_FALSE)
        note = f"largest {max(found)}; {np.mean(np.array(found) <= QUALITY_DELAY):.0%} within three"
        median = float(np.median(found))
        line = result_table.row(
            f"{what}, .10 -> .07: median delay", "windows", median, floor=QUALITY_DELAY, lower_is_better=True
        )
        yield {**line, "note": note}


# -- rows


def share(
    what: str,
    flags: Sequence[bool],
    floor: float | None = None,
    peer: tuple[str, float] | None = None,
    lower_is_better: bool = True,
) -> dict[str, Any]:
    """A row: the share of windows that are flagged, with its exact (Clopper-Pearson) 95 % interval."""
    n, of = sum(map(bool, flags)), len(flags)
    interval = binomtest(n, of).proportion_ci()
    line = result_table.row(what, "share of windows", n / of, peer, floor, lower_is_better=lower_is_better)
    line |= {"interval": [round(interval.low, 4), round(interval.high, 4)], "n": n, "of": of}
    return {**line, "note": f"{n} of {of}, [{interval.low:.3f}, {interval.high:.3f}]"}


def kept(part: str, seed: int, quick: bool, make: Callable[[], Any]) -> Any:
    """The result of one market, from .bench/ if it is there."""
    return kept_json(key_of("drift", part, seed, quick, code_hash()), make)


def code_hash() -> str:
    """A hash of all code that the figures depend on."""
    here = [
        *Path(monitoring.__file__).parent.rglob("*.py"),
        *(Path(__file__).parent / "measuring" / "drift").glob("*.py"),
    ]
    return code_version() + hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here))).hexdigest()


def _world(seed: int, quick: bool, *scenarios: Scenario) -> Log:
    return small_world(seed, scenarios, QUICK_ORDERS, QUICK_DAYS) if quick else small_world(seed, scenarios)


def _seeds(seeds: Sequence[int], quick: bool) -> Sequence[int]:
    return QUICK_SEEDS if quick else seeds


def _flags(groups: Sequence[Alarms]) -> list[bool]:
    return [bool(window) for group in groups for window in group]


def _retrainings(weeks: Alarms) -> list[bool]:
    """Whether each window, from the third on, has a column that drifted in two of three windows."""
    return [bool(lasting(weeks[end - 3 : end])) for end in range(3, len(weeks) + 1)]


def _mean(flags: Sequence[bool]) -> float:
    return float(np.mean(flags))


if __name__ == "__main__":
    main()
