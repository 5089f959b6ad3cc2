"""The rows of a benchmark: printed as a table, and written as JSON for programs."""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recommenders.evaluation.statistics.comparison import Interval

Part = Callable[[bool], Iterator[dict[str, Any]]]
RESULTS = Path(__file__).resolve().parents[1] / "results"
HEAD = f"{'what':<66} {'unit':<18} {'ours':>10} {'peer':>26} {'value':>10} {'ratio':>7}  floor / goal"

ACCURACY_HEAD = (
    f"{'data set, view, entrant':<66} {'NDCG@10':>8} {'95 % interval':>18} {'HR@10':>6} {'share':>6} "
    f"{'flagship lead':>16} {'95 % interval':>18}  floor / goal"
)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", dest="as_json", help="print a last line for programs")
    parser.add_argument("--quick", action="store_true", help="small sizes, to test that the script works")
    parser.add_argument("--no-peers", action="store_true", help="measure only our models; installs nothing")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of ours and of each peer")
    return parser


def row(
    what: str,
    unit: str,
    ours: float | None,
    peer: tuple[str, float] | None = None,
    floor: float | None = None,
    goal: float | None = None,
    on: str = "ours",
    lower_is_better: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """One row. ratio: how many times better than the peer. on: "ours" or "ratio", to which floor and goal apply."""
    ratio = None
    if peer is not None and ours and peer[1]:
        ratio = peer[1] / ours if lower_is_better else ours / peer[1]
    value = ours if on == "ours" else ratio

    def met(bound: float | None) -> bool | None:
        if bound is None or value is None:
            return None
        return bool(value <= bound if lower_is_better and on == "ours" else value >= bound)

    return {
        "what": what,
        "unit": unit,
        "ours": rounded(ours),
        "peer": peer and peer[0],
        "peer_value": peer and rounded(peer[1]),
        "ratio": rounded(ratio),
        "goal": goal,
        "met": met(goal),
        "floor": floor,
        "floor_met": met(floor),
        "bounds": on,
        **more,
    }


def rounded(value: float | None) -> float | None:
    """The value, rounded to four significant digits or more."""
    if value is None:
        return None
    return round(float(value), 4) if abs(value) < 100 else round(float(value), 1)


def show(line: Mapping[str, Any]) -> None:
    """Prints a row. A missed bound is printed as MISSED."""
    texts = [
        f"{line['what']:<66} {line['unit']:<18} {_number(line['ours']):>10}",
        f"{line['peer'] or '':>26} {_number(line['peer_value']):>10} {_number(line['ratio']):>7} ",
        _verdict("floor", line["floor"], line["floor_met"]),
        _verdict("goal", line["goal"], line["met"]),
        line.get("note", ""),
    ]
    print(" ".join(text for text in texts if text).rstrip(), flush=True)


def show_accuracy(line: Mapping[str, Any]) -> None:
    """Prints a row of accuracy: an entrant's mean, its share of the oracle's mean, the flagship's lead, the bounds."""
    difference = line.get("difference")
    texts = [
        f"{line['what']:<66} {line['value']:>8.4f} {_interval(line['interval'], '.4f'):>18}",
        f"{_fraction(line.get('hit_rate')):>6} {_fraction(line.get('share')):>6}",
        f"{'' if difference is None else f'{difference[0]:+.4f}':>16}",
        f"{'' if difference is None else _interval(difference[1:], '+.4f'):>18} ",
        _verdict("floor", line["floor"], line["floor_met"]),
        _verdict("goal", line["goal"], line["met"]),
        line.get("note", ""),
    ]
    print(" ".join(text for text in texts if text).rstrip(), flush=True)


def ends(interval: Interval) -> list[float]:
    """[low, high] of an interval, rounded."""
    return [round(interval.low, 4), round(interval.high, 4)]


def _interval(parts: Sequence[float], form: str) -> str:
    return f"[{', '.join(format(part, form) for part in parts)}]"


def _fraction(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _verdict(name: str, bound: float | None, met: bool | None) -> str:
    if bound is None:
        return ""
    return f"{name} {bound:g} {'met' if met else 'MISSED' if met is not None else 'unknown'};"


def finish(
    name: str,
    rows: list[dict[str, Any]],
    started: float,
    as_json: bool,
    peers: Mapping[str, str],
    whole: bool = False,
) -> None:
    """Prints how many floors and goals are met, and with as_json the JSON line. A whole run writes its results file."""
    for bound, met in (("floor", "floor_met"), ("goal", "met")):
        results = [line[met] for line in rows if line[bound] is not None]
        if results:
            print(f"{name}: {sum(map(bool, results))} of {len(results)} {bound}s met")
    found = result(name, rows, started, peers)
    if whole:
        save(found)
    if as_json:
        print(json.dumps(found))


def run_parts(name: str, description: str | None, option: str, parts: Mapping[str, Part]) -> None:
    """The main function of a script of several parts. option: names those to run. A part takes whether it is quick."""
    parser = arguments(description)
    parser.add_argument(option, nargs="+", choices=list(parts), default=list(parts), dest="chosen")
    options = parser.parse_args()
    started, rows = time.perf_counter(), list[dict[str, Any]]()
    print(HEAD)
    for chosen in options.chosen:
        for line in parts[chosen](options.quick):
            show(line)
            rows.append(line)
    whole = not options.quick and set(options.chosen) == set(parts)
    finish(name, rows, started, options.as_json, {}, whole)


def result(name: str, rows: list[dict[str, Any]], started: float, peers: Mapping[str, str]) -> dict[str, Any]:
    """The result of a benchmark, for JSON."""
    facts = {"name": name, "rows": rows, "versions": versions() | dict(peers), "hardware": hardware()}
    return {**facts, "seconds": round(time.perf_counter() - started, 1)}


def save(found: Mapping[str, Any]) -> None:
    """Writes benchmarks/results/NAME.json, with date and commit. Published figures come from these files."""
    path = RESULTS / f"{found['name']}.json"
    path.parent.mkdir(exist_ok=True)
    facts = {**found, "date": datetime.now(UTC).date().isoformat(), "commit": commit()}
    path.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"written: benchmarks/results/{path.name}")


def commit() -> str:
    """The commit of the source, with a remark if tracked files were changed since."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=RESULTS.parent, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/recommenders", ":/benchmarks/*.py")
    return (git("rev-parse", "HEAD") or "unknown") + (" and uncommitted changes" if changed else "")


def versions() -> dict[str, str]:
    """Versions of our package and the libraries that it uses."""
    ours = ("tradewind", "numpy", "scipy", "scikit-learn", "xgboost-cpu", "torch", "numba")
    return {name: version(name) for name in ours} | {"python": platform.python_version()}


def hardware() -> str:
    """A short description of the machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores"
