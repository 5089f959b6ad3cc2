"""Makes the text of the figures in README.md and docs/accuracy.md from benchmarks/results/.

Rounding: three decimal places, half to even as in Python; shares of the oracle in whole per cent. The results have four
decimal places.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers.tuning.spaces import PEERS

from measuring.accuracy.comparisons import AHEAD, AHEAD_ON, FLAGSHIP, LEVEL, NOT_BEHIND, apply_holm
from measuring.benchmark_tasks import DATASETS, LATER_VISITS
from measuring.result_table import RESULTS

BEGIN, END = "<!-- figures of benchmarks/results -->", "<!-- end of figures -->"
NO_PEERS = "No peer library ran in this measurement."
STALE = "Peers that may be better with other settings or a longer training (each line gives the reason):"
# Parts of notes which mean that a peer may not have its best settings.
SHORTCOMINGS = ("of an older grid", "trials, not", "on the edge of the grid", "not tuned", "ended by its seconds")
PHRASES = {  # a note of a results file -> its words on a page
    "not tuned: library defaults": "not tuned, it has the defaults of its library",
    "training was ended by its seconds": "its training reached the time limit",
}
COMMAND = "`python benchmarks/readme.py --write`"
VIEW_TITLES = {
    "all": "all items",
    "reorder": "bought before",
    "discovery": "never bought before",
    "sampled": "99 sampled items",
}
Rows = Sequence[Mapping[str, Any]]


def accuracy_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Data set -> the result of the newest whole run on its test window; data sets without a result are left out."""
    paths = {name: folder / f"accuracy-{name}.json" for name in DATASETS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def figures(results: Mapping[str, Mapping[str, Any]], tables: Sequence[str] = tuple(DATASETS)) -> str:
    """The text between the markers of a page: the tables of some data sets, and the comparisons on all data sets."""
    if not results:
        return f"*Not measured with this version yet: run `benchmarks/accuracy.py`, then {COMMAND}.*"
    rows = [dict(row) for result in results.values() for row in result["rows"]]
    n_compared = apply_holm(rows)
    parts = [_table(name, _of(rows, name), results[name]) for name in results if name in tables]
    missing = [f"`{name}`" for name in DATASETS if name not in results]
    parts += [f"Not measured with this version yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join([*parts, _comparisons(rows, n_compared, tables), *_closing_sentences(rows)])


def page_with(page: str, text: str) -> str:
    """The page with the text between its markers. Raises ValueError if it has no markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _of(rows: Rows, name: str, view: str | None = None) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["data_set"] == name and view in (None, row["view"])]


def _table(name: str, rows: Rows, result: Mapping[str, Any]) -> str:
    views = [view for view in VIEW_TITLES if any(row["view"] == view for row in rows)]
    values = {(row["entrant"], row["view"]): row for row in rows}
    first = _of(rows, name, "all")
    lines = [
        f"`{name}`, {first[0]['users']:,} users, NDCG@10 with the 95 % interval of the mean "
        f"({result['date']}, commit {result['commit'][:7]}):",
        "",
        f"| | {' | '.join(VIEW_TITLES[view] for view in views)} |",
        f"|---|{'---|' * len(views)}",
    ]
    for row in first:  # best first over all items
        cells = [_cell(values.get((row["entrant"], view))) for view in views]
        lines.append(f"| `{row['entrant']}` | {' | '.join(cells)} |")
    if not any(row["entrant"] in PEERS for row in first):
        lines += ["", NO_PEERS]
    notes = sorted({f"- `{row['entrant']}`: {note}" for row in first if (note := _settings_note(row))})
    if notes:
        lines += ["", STALE, "", *notes]
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{_short(row['value'])} [{_short(row['interval'][0])}, {_short(row['interval'][1])}]"


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _settings_note(row: Mapping[str, Any]) -> str:
    parts = [part for part in row["note"].split("; ") if any(mark in part for mark in SHORTCOMINGS)]
    return "; ".join(PHRASES.get(part, part) for part in parts)


def _comparisons(rows: Rows, n_compared: int, tables: Sequence[str]) -> str:
    """Every miss of the flagship; and its differences without significance, on the data sets whose tables are shown."""
    required = [row for row in rows if row.get("bounds") in (AHEAD, NOT_BEHIND)]
    missed = [row for row in required if not row["floor_met"]]
    not_significant = [row for row in rows if "p" in row and row["view"] in AHEAD_ON and not row["p_holm"] <= LEVEL]
    lists = {
        "Requirements that are not met:": missed,
        "Differences that are not significant:": [row for row in not_significant if row["data_set"] in tables],
    }
    text = (
        f"`{FLAGSHIP}` was compared with other models {n_compared} times, user by user. The p-values are corrected for "
        f"this number (Holm). {len(required)} of the comparisons are requirements. `{FLAGSHIP}` must be significantly "
        "better than every peer, over all items and over items never bought before. It must not be worse than its best "
        "base model and `hybrid`; for cold-start users also not worse than `popularity`, and for cold items not worse "
        "than `content_based`. Worse means that the whole interval of the difference is below 0. "
        f"{len(required) - len(missed)} of the {len(required)} are met."
    )
    listed = ["\n".join([words, "", *map(_difference, found)]) for words, found in lists.items() if found]
    if listed:
        text += (
            f" Each line below gives the NDCG@10 of `{FLAGSHIP}` minus that of the other model, with the uncorrected "
            "95 % interval; then, where measured, the range of this difference over other seeds and over other orders "
            "of events with one time stamp."
        )
    return "\n\n".join([text, *listed])


def _difference(row: Mapping[str, Any]) -> str:
    value, low, high = row["difference"]
    where = f"`{row['data_set']}`, {VIEW_TITLES.get(row['view'], row['view'])}"
    text = f"- `{row['entrant']}`, on {where}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"
    for kind, words in (("seed", "seeds"), ("ties", "orders")):
        if lead := row.get(f"{kind}_lead"):
            text += f"; {lead['n']} {words} {lead['low']:+.3f} to {lead['high']:+.3f}"
    return text


def _closing_sentences(rows: Rows) -> list[str]:
    found = []
    for row in rows:
        if row["entrant"] == FLAGSHIP and row["view"] == "all" and "share" in row:
            low, high = row["share_interval"]
            found.append(
                "On the simulated market `custom_b2b` the oracle ranks by the true purchase probabilities. For NDCG it "
                f"is a very good model, not a proven upper bound. `{FLAGSHIP}` reaches {row['share']:.0%} "
                f"[{low:.0%}, {high:.0%}] of the oracle's NDCG@10 over all items."
            )
    for name in dict.fromkeys(row["data_set"] for row in rows):
        cold = {row["entrant"]: row for row in _of(rows, name, LATER_VISITS)}
        if {FLAGSHIP, "popularity"} <= set(cold):
            ours, popular = cold[FLAGSHIP], cold["popularity"]
            found.append(
                f"Cold-start users of `{name}` ({ours['users']:,} users; the first visit is the history, the items of "
                f"later visits are relevant), NDCG@10: `{FLAGSHIP}` {_cell(ours)}, `popularity` {_cell(popular)}."
            )
    return found
