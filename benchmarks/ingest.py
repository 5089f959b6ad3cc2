"""Measures the cost of ingesting publishers' files into clean Parquet tables, against a bare copy, pandas and polars.

    python benchmarks/ingest.py [--sizes 1000000 5000000 25000000] [--only movielens amazon] [--work FOLDER] [--json]

The files are synthetic, in the publishers' layouts (measuring/synthetic/layouts.py): MovieLens at each size, Amazon's
2018 reviews (.json.gz) up to five million, Retailrocket with --events and --properties. Ours is DatasetSpec.ingest: it
checks whole files and every row, merges duplicates and writes four tables. The bare copy is DuckDB's
`copy (from read_csv(file)) to parquet` of all files, without checks or counts; dirty columns are copied as text. The
pandas and polars ways are straightforward scripts: read, cast, drop impossible rows and duplicates, write. Each way
runs in a separate process, which this script starts with `--one`; the kernel reports its peak memory. The exponent is
the slope of ln(seconds) over ln(rows). Dirty: the same MovieLens file with one broken row per thousand.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from measuring.result_table import save
from measuring.synthetic import layouts
from peers.process.memory import peak_mb

from recommenders.datasets.all_datasets import DATASETS

SIZES = (1_000_000, 5_000_000, 25_000_000)
MAX_AMAZON = 5_000_000
MAX_RATIO_TO_COPY, MIN_RATIO_TO_PANDAS, MAX_EXPONENT, MAX_MEGABYTES, MAX_GROWTH = 2.0, 5.0, 1.1, 4096.0, 1.25
MAX_PANDAS = {"movielens": 5_000_000, "amazon": 1_000_000}  # rows; pandas takes 1.3 and 3.9 GB for them
WAYS = ("ours", "bare copy", "pandas", "polars")
TIMEOUT = 900  # seconds; limit for one way
FUTURE = 2_000_000_000


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of ratings and reviews")
    arguments.add_argument("--events", type=int, default=2_700_000, help="number of Retailrocket events")
    arguments.add_argument("--properties", type=int, default=5_000_000, help="Retailrocket rows; really 20000000")
    arguments.add_argument("--only", nargs="+", choices=("movielens", "dirty", "retailrocket", "amazon"))
    arguments.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments.add_argument("--work", type=Path, help="folder for the temporary files")
    arguments.add_argument("--json", action="store_true", dest="as_json")
    arguments.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        run_one(*options.one)
        return
    started = time.perf_counter()
    print(f"{'source':<14} {'rows':>11} {'way':<10} {'seconds':>8} {'rows/s':>11} {'MB':>6}")
    found = [line for case in cases(options) for line in measure(*case, options)]
    rows = [*compare_with(found, "bare copy"), *compare_with(found, "pandas"), *growth(found)]
    print()
    for row in rows:
        print(f"{row['what']:<60} {row['ratio']:8.2f}  goal {row['goal']:<7} {'met' if row['met'] else 'MISSED'}")
    report = {"name": "ingest", "rows": rows, "versions": versions(), "hardware": hardware(), "measured": found}
    report |= {"seconds": round(time.perf_counter() - started, 1)}
    if options.sizes == SIZES and not options.only and options.ways == WAYS:
        save(report)
    if options.as_json:
        print(json.dumps(report))


def cases(options: argparse.Namespace) -> Iterator[tuple[str, int, Callable[[Path], Path]]]:
    """(source, number of rows, function that writes its files) of each case."""
    selected = options.only or ("movielens", "dirty", "retailrocket", "amazon")
    for n in sorted(options.sizes):
        if "movielens" in selected:
            yield "movielens", n, lambda folder, n=n: layouts.movielens(folder, n)
    if "dirty" in selected:
        yield "dirty", min(options.sizes), lambda folder: make_dirty(folder, min(options.sizes))
    if "retailrocket" in selected:
        n = options.events + options.properties
        yield "retailrocket", n, lambda folder: layouts.retailrocket(folder, options.events, options.properties)
    for n in sorted(options.sizes):
        if "amazon" in selected and n <= MAX_AMAZON:
            yield "amazon", n, lambda folder, n=n: layouts.amazon(folder, n)


def make_dirty(folder: Path, n: int) -> Path:
    """MovieLens with every thousandth rating broken, in five ways."""
    layouts.movielens(folder, n)
    bad = ("{u},{m},9.5,{t}", "{u},{m},4.0", "x{u},{m},4.0,{t}", "{u},{m},4.0,{t}000", '"{u},{m},4.0,{t}')
    path = folder / "ratings.csv"
    with path.open() as good, (folder / "spoilt").open("w") as out:
        for place, line in enumerate(good):
            out.write(line)
            if place % 1000 == 1:
                out.write(bad[place // 1000 % len(bad)].format(u=place, m=1, t=1_000_000_000) + "\n")
    (folder / "spoilt").replace(path)
    return folder


def measure(name: str, n: int, make: Callable[[Path], Path], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds and megabytes of each way on the files of one case, which are deleted afterwards."""
    with tempfile.TemporaryDirectory(dir=options.work, prefix="ingest-") as folder:
        source = make(Path(folder) / "source")
        for way in options.ways:
            if way == "pandas" and n > MAX_PANDAS.get(name, n):
                continue
            line = {"source": name, "n": n, "way": way, **run_process(way, name, source)}
            if "reason" in line:
                print(f"{name:<14} {n:11,} {way:<10} {line['reason']}")
                continue
            print(
                f"{name:<14} {n:11,} {way:<10} {line['seconds']:8.2f} {n / line['seconds']:11,.0f}"
                f" {line['megabytes']:6.0f}",
                flush=True,
            )
            yield line


def run_process(way: str, name: str, source: Path) -> dict[str, Any]:
    """The figures that a process prints which reads the source in one way; {"reason"} if it fails."""
    command = [sys.executable, __file__, "--one", way, name, str(source)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return {"reason": f"took more than {TIMEOUT} s"}
    if done.returncode:
        return {"reason": f"failed: {done.stderr.strip().splitlines()[-1][:160]}"}
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def run_one(way: str, name: str, source: str) -> None:
    """Reads a source in one way, and prints seconds and megabytes as JSON."""
    out = Path(source).with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if way == "polars":
        import polars  # noqa: F401  (imports are not measured in any way)
    kind = "movielens" if name == "dirty" else name
    started = time.perf_counter()
    {"ours": ours, "bare copy": bare_copy, "pandas": with_pandas, "polars": with_polars}[way](kind, Path(source), out)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": round(seconds, 3), "megabytes": round(peak_mb())}))


def ours(kind: str, source: Path, out: Path) -> None:
    """The complete ingest."""
    DATASETS[kind].write_tables(source, out)


def bare_copy(kind: str, source: Path, out: Path) -> None:
    """Copies each file with the types that DuckDB detects."""
    with duckdb.connect() as connection:
        connection.execute(f"set temp_directory = '{out / 'spill'}'")
        for path in sorted(source.iterdir()):
            # the type of the property values changes after the rows from which DuckDB detects it
            options = ", all_varchar = true" if path.name.startswith("item_properties") else ""
            read = f"read_json('{path}')" if kind == "amazon" else f"read_csv('{path}'{options})"
            connection.execute(f"copy (from {read}) to '{out / path.name}.parquet' (format parquet)")


def with_pandas(kind: str, source: Path, out: Path) -> None:
    """The straightforward pandas script for each source."""
    {"movielens": pandas_movielens, "retailrocket": pandas_retailrocket, "amazon": pandas_amazon}[kind](source, out)


def pandas_movielens(source: Path, out: Path) -> None:
    ratings = pd.read_csv(source / "ratings.csv", on_bad_lines="skip", low_memory=False, quoting=3)
    ratings = ratings.apply(pd.to_numeric, errors="coerce").dropna()
    ratings = ratings[ratings["rating"].between(0.5, 5) & ratings["timestamp"].between(0, FUTURE)].drop_duplicates()
    movies = pd.read_csv(source / "movies.csv").drop_duplicates("movieId")
    ratings = ratings[ratings["movieId"].isin(movies["movieId"])]
    events = pd.DataFrame(
        {
            "user_id": ratings["userId"].astype("int64").astype(str),
            "item_id": ratings["movieId"].astype("int64").astype(str),
            "timestamp": pd.to_datetime(ratings["timestamp"], unit="s", utc=True),
            "rating": ratings["rating"],
        }
    )
    events.to_parquet(out / "interactions.parquet")
    tags = pd.read_csv(source / "tags.csv").groupby("movieId")["tag"].agg(" ".join)
    movies.join(tags, on="movieId").to_parquet(out / "items.parquet")
    events[["user_id"]].drop_duplicates().to_parquet(out / "users.parquet")


def pandas_retailrocket(source: Path, out: Path) -> None:
    events = pd.read_csv(source / "events.csv").drop_duplicates()
    events = events[events["event"].isin(["view", "addtocart", "transaction"])]
    events["timestamp"] = pd.to_datetime(events["timestamp"], unit="ms", utc=True)
    events[["visitorid", "itemid"]] = events[["visitorid", "itemid"]].astype(str)
    events.to_parquet(out / "interactions.parquet")
    parts = (pd.read_csv(path, dtype={"value": str}) for path in sorted(source.glob("item_properties_part*.csv")))
    values = pd.concat(parts).drop_duplicates().sort_values(["itemid", "timestamp"])
    selected = values[values["property"].isin(["categoryid", "available", "888", "283"])]
    rows = selected.pivot_table(index=["itemid", "timestamp"], columns="property", values="value", aggfunc="last")
    rows.groupby(level="itemid").ffill().reset_index().to_parquet(out / "items.parquet")
    events[["visitorid"]].drop_duplicates().to_parquet(out / "users.parquet")


def pandas_amazon(source: Path, out: Path) -> None:
    columns = ["reviewerID", "asin", "overall", "unixReviewTime"]
    reviews = pd.read_json(source / "Made_Up_5.json.gz", lines=True, dtype={"reviewerID": str, "asin": str})[columns]
    reviews = reviews[reviews["overall"].between(1, 5)].dropna().drop_duplicates()
    reviews["timestamp"] = pd.to_datetime(reviews.pop("unixReviewTime"), unit="s", utc=True)
    reviews.to_parquet(out / "interactions.parquet")
    products = pd.read_json(source / "meta_Made_Up.json.gz", lines=True, dtype={"asin": str}).drop_duplicates("asin")
    products["price"] = pd.to_numeric(products["price"].str.strip("$").str.replace(",", ""), errors="coerce")
    products.to_parquet(out / "items.parquet")
    reviews[["reviewerID"]].drop_duplicates().to_parquet(out / "users.parquet")


def with_polars(kind: str, source: Path, out: Path) -> None:
    """The same in polars, for the events and the largest other table."""
    import polars as pl

    if kind == "amazon":
        keys = {"reviewerID": pl.String, "asin": pl.String, "overall": pl.Float64, "unixReviewTime": pl.Int64}
        read: Any = pl.read_ndjson(source / "Made_Up_5.json.gz", schema=keys)
        events = read.filter(pl.col("overall").is_between(1, 5)).unique()
        pl.read_ndjson(source / "meta_Made_Up.json.gz").write_parquet(out / "items.parquet")
    elif kind == "retailrocket":
        types = {"visitorid": pl.String, "itemid": pl.String}
        events = pl.read_csv(source / "events.csv", schema_overrides=types).unique()
        types = {"property": pl.String, "value": pl.String}
        parts = [pl.read_csv(p, schema_overrides=types) for p in sorted(source.glob("item_properties_part*.csv"))]
        selected = pl.concat(parts).filter(pl.col("property").is_in(["categoryid", "available", "888", "283"]))
        rows = selected.pivot("property", index=["itemid", "timestamp"], values="value", aggregate_function="last")
        rows = rows.sort("itemid", "timestamp").with_columns(pl.exclude("itemid").forward_fill().over("itemid"))
        rows.write_parquet(out / "items.parquet")
    else:
        read = pl.read_csv(source / "ratings.csv", ignore_errors=True, truncate_ragged_lines=True, quote_char=None)
        good = pl.col("rating").is_between(0.5, 5) & pl.col("timestamp").is_between(0, FUTURE)
        events = read.drop_nulls().filter(good).unique()
        events = events.with_columns(pl.col("userId", "movieId").cast(pl.String))
        pl.read_csv(source / "movies.csv").unique("movieId").write_parquet(out / "items.parquet")
    events.write_parquet(out / "interactions.parquet")


def compare_with(found: list[dict[str, Any]], peer: str) -> list[dict[str, Any]]:
    """Ours compared with a peer, case by case: our seconds over the copy's, or pandas' seconds over ours."""
    values = {(line["source"], line["n"], line["way"]): line["seconds"] for line in found}
    rows = []
    for (source, n, way), seconds in values.items():
        other = values.get((source, n, peer))
        if way != "ours" or other is None:
            continue
        is_copy = peer == "bare copy"
        ratio = seconds / other if is_copy else other / seconds
        goal = MAX_RATIO_TO_COPY if is_copy else MIN_RATIO_TO_PANDAS
        what = f"{source}, {n:,} rows: " + ("seconds over the bare copy's" if is_copy else "pandas' seconds over ours")
        rows.append(
            row(what, "seconds", seconds, peer, other, ratio, goal, ratio <= goal if is_copy else ratio >= goal)
        )
    return rows


def growth(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The growth of our cost with the log size: the exponent of the time, and the peak memory."""
    rows = []
    for source in ("movielens", "amazon"):
        lines = [line for line in found if line["source"] == source and line["way"] == "ours"]
        if len(lines) > 1:
            slope = float(np.polyfit(np.log([x["n"] for x in lines]), np.log([x["seconds"] for x in lines]), 1)[0])
            what, last = f"{source}: exponent of seconds over rows", lines[-1]["seconds"]
            rows.append(row(what, "exponent", slope, "linear", 1.0, slope, MAX_EXPONENT, slope <= MAX_EXPONENT))
            before, last = lines[-2]["megabytes"], lines[-1]["megabytes"]
            what, ratio = f"{source}: peak at {lines[-1]['n']:,} over that at {lines[-2]['n']:,}", last / before
            rows.append(row(what, "megabytes", last, "a smaller log", before, ratio, MAX_GROWTH, ratio <= MAX_GROWTH))
    for line in (line for line in found if line["way"] == "ours"):
        what, peak = f"{line['source']}, {line['n']:,} rows: peak megabytes", line["megabytes"]
        rows.append(row(what, "megabytes", peak, "goal", MAX_MEGABYTES, peak, MAX_MEGABYTES, peak <= MAX_MEGABYTES))
    return rows


def row(
    what: str, unit: str, ours: float, peer: str, peer_value: float, ratio: float, goal: float, met: bool
) -> dict[str, Any]:
    """One row of the table."""
    values = {"what": what, "unit": unit, "ours": round(ours, 3), "peer": peer, "peer_value": round(peer_value, 3)}
    return values | {"ratio": round(ratio, 3), "goal": goal, "met": bool(met)}


def versions() -> dict[str, str]:
    """Versions of the compared libraries."""
    found = {"python": platform.python_version()}
    for name in ("tradewind", "duckdb", "pandas", "polars", "pyarrow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def hardware() -> str:
    """A short description of the machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
