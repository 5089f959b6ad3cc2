"""The whole loop on simulated markets: how soon a change is found, and how good the lists are after the retraining.

    python benchmarks/loop.py [--drills none demand_shift ... retrainings] [--quick] [--json]

Each scenario of `tradewind drill` is played for 42 days, in a market that was not used in development.
retrainings: 30 retrainings of markets that do not change, in three markets, every second day. A promotion is wrong if
the lists after it are significantly worse than those of the version before, for the same visits and by their true
purchase probabilities. Finished scenarios are kept in `.bench/`, so an interrupted run continues where it stopped.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from measuring import result_table
from measuring.disk_cache import code_version, kept_json, key_of

from orchestration.drill.figures import alarm, figures
from orchestration.drill.play import Record, play
from orchestration.drill.scenarios import BROKEN_DAYS, OUTAGE_DAYS, SCENARIOS, WEEK

DAYS, QUICK_DAYS = 42, 21
SEEDS = (71,)
MARKETS, EACH = (21, 22, 23), 10  # of the retrainings without a change
EVERY = 2  # days
MATURE_DAYS = 2  # until a day is judged, with a window of one day for purchases
MINUTES = 5.0  # of the scenario demand_shift, on two cores


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    logging.disable(logging.ERROR)
    parts = {name: partial(scenario_rows, name) for name in SCENARIOS}
    result_table.run_parts("loop", __doc__, "--drills", {**parts, "retrainings": retrainings})


def played(name: str, days: int, seed: int, **given: Any) -> dict[str, Any]:
    """The figures of a scenario, with the seconds that it took and its alarms after the change."""

    def make() -> dict[str, Any]:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="tradewind-drill-") as home:
            record = play(name, days, seed, Path(home), **given)
        return {**asdict(figures(record)), "seconds": time.perf_counter() - began, **after_change(record)}

    return dict(
        kept_json(key_of("loop", code_version("serving", "monitoring", "orchestration"), name, days, seed, given), make)
    )


def after_change(record: Record) -> dict[str, int]:
    """Evenings with an alarm of inputs, and retrainings while the feed is broken."""
    after = record.days[record.change :]
    return {
        "input_alarms": sum(bool(day.drifted) for day in after),
        "trained_on_a_broken_feed": sum(bool(day.runs) and alarm(day) == "feed" for day in after),
    }


def scenario_rows(name: str, quick: bool) -> Iterator[dict[str, Any]]:
    """The floors of a scenario."""
    for seed in SEEDS:
        found = played(name, QUICK_DAYS if quick else DAYS, seed)
        for row in rows_of(name, found):
            yield {**row, "what": f"{name}, market {seed}: {row['what']}", "figures": found}


def rows_of(name: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a played scenario."""
    yield at_most("false alarms", "alarms", found["false_alarms"], 0)
    yield at_most("needless retrainings", "runs", found["needless_retrainings"], 0)
    forced = int(SCENARIOS[name].fault == "bad model")  # the gate did not promote that one
    yield at_most("wrong promotions", "promotions", found["wrong_promotions"] - forced, 0)
    if SCENARIOS[name].is_drift:
        slowest = 3 * WEEK + MATURE_DAYS if name == "taste_permutation" else 2 * WEEK
        yield at_most("days until the first alarm", "days", found["detect_days"], slowest, by=found["detected_by"])
        yield result_table.row(
            "NDCG of an oracle's retraining, 2nd week after the alarm", "share", found["ndcg_share"], floor=0.95
        )
        if found["regained"] is not None:
            yield result_table.row("loss regained, second week after the alarm", "share", found["regained"], floor=0.8)
    if name == "taste_permutation":
        yield at_most("evenings with an alarm of inputs", "evenings", found["input_alarms"], 0)
    if name == "demand_shift":
        yield at_most("time of the drill", "minutes", found["seconds"] / 60, MINUTES)
    if name == "bad_model":
        yield at_most("days until the rollback", "days", found["rollback_days"], WEEK + MATURE_DAYS)
    if SCENARIOS[name].fault_days:
        yield at_most("days until the alarm of the feed", "days", found["detect_days"], WEEK, by=found["detected_by"])
        yield at_most("retrainings on a broken feed", "runs", found["trained_on_a_broken_feed"], 0)
        broken = {"broken_feed": BROKEN_DAYS, "feed_outage": OUTAGE_DAYS}[name]
        yield at_most("days until the feed is sound", "days", found["heal_days"], broken + WEEK + 1)


def retrainings(quick: bool) -> Iterator[dict[str, Any]]:
    """Retrainings of markets that do not change."""
    markets, each = (MARKETS[:1], 2) if quick else (MARKETS, EACH)
    days = EVERY * each + 1
    found = [played("none", days, seed, max_age_days=EVERY - 0.5, cool_down_hours=1.0) for seed in markets]
    n_runs, n_promotions = (sum(one[key] for one in found) for key in ("retrainings", "promotions"))
    yield result_table.row("retrainings without a change", "runs", n_runs, floor=len(markets) * each, figures=found)
    yield at_most("wrong promotions", "promotions", sum(one["wrong_promotions"] for one in found), 0, of=n_promotions)


def at_most(what: str, unit: str, ours: float | None, floor: float, **more: Any) -> dict[str, Any]:
    """A row of something that should be small. None, which is never, misses the floor."""
    row = result_table.row(what, unit, ours, floor=floor, lower_is_better=True, **more)
    return row | ({"floor_met": False} if ours is None else {})


if __name__ == "__main__":
    main()
