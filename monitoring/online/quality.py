"""Precision, recall, NDCG and hit rate of each shown list of a day, on what its user bought afterwards."""

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.online.attribution import Attribution
from recommenders.metrics.ranking import FORMULAS, K

METRICS = ("precision", "recall", "ndcg", "hit_rate")


def judge(engine: duckdb.DuckDBPyConnection, day: int, rules: Attribution) -> None:
    """Makes the table `judged`: list, user_id and METRICS of each list of the day, null where undefined.

    A list has k places, its slots up to K. Its relevant items are those of the user's relevant events from the time of
    the list until the end of the window. Undefined: a list without slots, or one after which nothing was relevant.
    engine: from attribution.attributed().
    """
    engine.execute(
        f"""
        create or replace temp table wanted as
        select shown.list, pair from shown join events using (user_id)
        where day = {day} and event in {_texts(rules.relevant)}
          and timestamp >= answered_at and timestamp < answered_at + {rules.purchase_window}
        group by all
        """
    )
    lists = engine.execute(
        f"""
        select list, user_id, least(n_slots, {K}) as k, coalesce(n_wanted, 0) as n_wanted
        from shown left join (select list, count(*) as n_wanted from wanted group by all) using (list)
        where day = {day} order by list
        """
    ).to_arrow_table()
    hits = engine.execute(
        f"select list, slot from slots semi join wanted using (list, pair) where slot <= {K}"
    ).to_arrow_table()
    numbers = lists["list"].to_numpy()
    found = np.zeros((len(numbers), K), dtype=np.bool_)
    found[np.searchsorted(numbers, hits["list"].to_numpy()), hits["slot"].to_numpy() - 1] = True
    metrics = _metrics(found, lists["k"].to_numpy(), lists["n_wanted"].to_numpy().astype(np.float64))
    columns = {name: pa.array(values, from_pandas=True) for name, values in metrics.items()}  # nan becomes null
    engine.register("page", pa.table({"list": lists["list"], "user_id": lists["user_id"], **columns}))
    engine.execute("create or replace temp table judged as from page")


def _metrics(
    found: NDArray[np.bool_], lengths: NDArray[np.int64], counts: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """METRICS -> (n_lists,). found: (n_lists, K), where the hits are. lengths, counts: places and relevant items."""
    metrics = {name: np.full(len(found), np.nan) for name in METRICS}
    counts = np.where(counts > 0, counts, np.nan)
    for k in np.unique(lengths[lengths > 0]).tolist():
        rows = lengths == k
        for name in METRICS:
            metrics[name][rows] = FORMULAS[name](found[rows, :k], counts[rows])
    return metrics


def _texts(values: tuple[str, ...]) -> str:
    """As a list of SQL."""
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"
