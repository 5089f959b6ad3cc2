"""The changes of what lists show between two periods, and their errors by the sampling of users.

A figure is a ratio of two sums over users. Of shares the difference is compared; of the mean score, of its spread and
of the coverage the logarithm of the ratio.

Coverage is the effective number of items: 1 / the probability that two slots of different users have the same item
(the inverse of Simpson's index, 1949, Measurement of diversity; between users, because a list has each item once). It
is the number of items if all are shown equally often. Unlike the share of the catalogue that is in any list, it does
not grow with the number of lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.drift.changes import MIN_VALUES, Change, ratio_by_user, standard_error
from monitoring.drift.columns import MAX_LABELS, Codes, Flags, Floats, Rows
from monitoring.drift.sequential import MIN_USERS
from monitoring.drift.verdict import TINY
from monitoring.predictions.served import COVERAGE, FIGURES, FIRST_SLOTS, NEW_ITEMS, SCORE, SHARES


@dataclass(frozen=True)
class Period:
    """The lists of a version, or of all other versions, from one day to before another one, since 1970, UTC."""

    begin: int
    end: int
    version: int
    others: bool = False

    @property
    def condition(self) -> str:
        """In SQL."""
        return f"(version {'<>' if self.others else '='} {self.version} and day >= {self.begin} and day < {self.end})"


@dataclass(frozen=True)
class Compared:
    """The changes by figure, and the names of the values of a share. n_users: of the period that has fewer."""

    changes: Mapping[str, Change]
    names: Mapping[str, tuple[str, ...]]
    not_tested: tuple[str, ...]
    n_users: int


def nothing(reason: str) -> Compared:
    """No change is known."""
    return Compared({}, {}, (f"every figure ({reason})",), 0)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Rows of a query: (n,) whether each is in the newer period, its user from 0 to n_users - 1, and its numbers."""

    is_now: Flags
    users: Rows
    n_users: int
    table: pa.Table

    def number(self, name: str) -> Floats:
        return np.asarray(self.table[name].to_numpy(), np.float64)

    def by_user(self, rows: Flags, values: Floats, codes: Codes | None = None, n_codes: int = 1) -> Floats:
        """(n_users, n_codes) the sums of some rows."""
        places = self.users[rows] * n_codes + (0 if codes is None else codes[rows])
        sums: Floats = np.bincount(places, values[rows], self.n_users * n_codes).astype(np.float64)
        return sums.reshape(self.n_users, n_codes)


def compare(engine: duckdb.DuckDBPyConnection, before: Period, now: Period) -> Compared:
    """The changes between two periods. engine: from served(), with the lists of both."""
    engine.execute(
        f"""
        create or replace temp table sides as
        select list, dense_rank() over (order by user_id) - 1 as user_row, {now.condition} as is_now from lists
        where {before.condition} or {now.condition}
        """
    )
    numbers = [
        engine.execute("select count(*), count(distinct user_row) from sides where is_now = $1", [side]).fetchall()[0]
        for side in (False, True)
    ]
    n_lists, n_users = (min(of) for of in zip(*numbers, strict=True))
    if n_lists < MIN_VALUES or n_users < MIN_USERS:
        (lists_before, users_before), (lists_now, users_now) = numbers
        return nothing(
            f"{lists_before} lists of {users_before} users before, {lists_now} of {users_now} now; "
            f"{MIN_VALUES} of {MIN_USERS} are needed"
        )
    changes, names = dict[str, Change](), dict[str, tuple[str, ...]]()
    for figure in SHARES:
        if (change := _share_change(engine, figure)) is not None:
            names[figure], changes[figure] = change
    for figure, change_of in ((SCORE, _score_change), (COVERAGE, _coverage_change)):
        if (found := change_of(engine)) is not None:
            changes[figure] = found
    missing = tuple(f"{figure} (too few known values)" for figure in FIGURES if figure not in changes)
    return Compared(changes, names, missing, n_users)


def _share_change(engine: duckdb.DuckDBPyConnection, figure: str) -> tuple[tuple[str, ...], Change] | None:
    """The names of the values, most frequent first, and the change of their shares. Rare ones are "other"."""
    relation, value = SHARES[figure]
    sums = _sums(engine, relation, f"{value}::varchar as value, count(*) as n", f"{value} is not null")
    n = sums.number("n")
    codes, names = _encoded(sums.table["value"], ["true", "false"] if figure == NEW_ITEMS else None)
    order = np.argsort(-np.bincount(codes, n * ~sums.is_now, len(names)), kind="stable")
    place = np.empty(len(names), np.int32)
    place[order] = np.minimum(np.arange(len(names)), MAX_LABELS)
    names = [names[i] for i in order[:MAX_LABELS]] + ["other"] * (len(names) > MAX_LABELS)
    totals = [sums.by_user(side, n, place[codes], len(names)) for side in (~sums.is_now, sums.is_now)]
    if min(total.sum() for total in totals) < MIN_VALUES:
        return None
    kept = [i for i, name in enumerate(names) if figure != NEW_ITEMS or name == "true"]
    (before, of_before), (now, of_now) = (ratio_by_user(total[:, kept], total.sum(axis=1)) for total in totals)
    return tuple(names[i] for i in kept), Change(before, now, now - before, standard_error(of_now - of_before))


def _score_change(engine: duckdb.DuckDBPyConnection) -> Change | None:
    """The change of the mean score of the first slots, and of its mean distance from the median before."""
    chosen = f"slot <= {FIRST_SLOTS} and score is not null"
    (median,) = engine.execute(
        f"select median(score) from seen join sides using (list) where {chosen} and not is_now"
    ).fetchall()[0]
    if median is None:
        return None
    numbers = f"count(*) as n, sum(score) as total, sum(abs(score - {median})) as distance"
    sums = _sums(engine, "seen", numbers, chosen)
    sides = []
    for rows in (~sums.is_now, sums.is_now):
        counts = sums.by_user(rows, sums.number("n"))[:, 0]
        if counts.sum() < MIN_VALUES:
            return None
        totals = np.hstack([sums.by_user(rows, sums.number(name)) for name in ("total", "distance")])
        sides.append(ratio_by_user(totals, counts))
    return _log_change(*sides)


def _coverage_change(engine: duckdb.DuckDBPyConnection) -> Change | None:
    """The change of the effective number of items."""
    sums = _sums(engine, "seen", "item_id as value, count(*) as n", "true")
    items, _ = _encoded(sums.table["value"])
    sides = []
    for rows in (~sums.is_now, sums.is_now):
        shown = sums.number("n")[rows]
        if shown.sum() < MIN_VALUES:
            return None
        sides.append(_same_item(sums.users[rows], items[rows], shown, sums.n_users))
    same = _log_change(*sides)
    return Change(1 / same.before, 1 / same.now, -same.effect, same.error)


def _same_item(users: Rows, items: Codes, shown: Floats, n_users: int) -> tuple[Floats, Floats]:
    """The probability that two slots of different users have the same item, (1,), and each user's influence on it.

    users, items, shown: (n,), how often each user was shown each item. At least one pair of slots counts.
    """
    of_item, of_user = np.bincount(items, shown), np.bincount(users, shown, n_users)
    pairs = of_user.sum() ** 2 - np.sum(of_user**2)
    others = np.bincount(users, shown * (of_item[items] - shown), n_users)  # (n_users,) pairs with the same item
    same = max(others.sum(), 2.0) / pairs
    influence = 2 * (others - same * of_user * (of_user.sum() - of_user)) / pairs
    return np.array([same]), influence[:, None]


def _log_change(before: tuple[Floats, Floats], now: tuple[Floats, Floats]) -> Change:
    """The change as a logarithm. before, now: a figure, (n_values,), and each user's influence, (n_users, n_values)."""
    (old, of_old), (new, of_new) = ((np.maximum(value, TINY), influence) for value, influence in (before, now))
    return Change(old, new, np.log(new / old), standard_error(of_new / new - of_old / old))


def _sums(engine: duckdb.DuckDBPyConnection, relation: str, columns: str, condition: str) -> _Sums:
    """Columns of a relation for each user, and for each further value that they have."""
    table = engine.execute(
        f"select is_now, user_row, {columns} from {relation} join sides using (list) where {condition} "
        "group by all order by all"
    ).to_arrow_table()
    users = table["user_row"].to_numpy().astype(np.int64)
    (n_users,) = engine.execute("select max(user_row) + 1 from sides").fetchall()[0]
    return _Sums(table["is_now"].to_numpy(), users, n_users, table)


def _encoded(values: pa.ChunkedArray, names: list[str] | None = None) -> tuple[Codes, list[str]]:
    """Codes (n,) of texts, and the text of each code: by default the texts that there are."""
    names = values.unique().to_pylist() if names is None else names
    return pc.index_in(values, value_set=pa.array(names, pa.string())).to_numpy().astype(np.int32), names
