"""The figures of a day: of all lists, and by version, scene, strategy, kind of user, segment and slot.

A metric is a mean over users, of whom each has the mean over his or her lists. A rate is a ratio of two sums.
"""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import t as student

from monitoring.online.quality import METRICS

ATTRIBUTES = ("segment", "industry", "region")  # of a user
MAX_VALUES = 8  # slices by one attribute; smaller ones are merged
LAST_SLOT = 10  # later ones are merged
CONFIDENCE = 0.95
NO_LIST = "no list"  # the slice of the sessions without a list

# What lists are sliced by -> the value in SQL; null: the list is in no slice.
SLICES = {
    "all": "'all'",
    "version": "version::varchar",
    "scene": "scene",
    "strategy": "strategy",
    "user": "case when scene = 'basket' then null when strategy = 'known_user' then 'known' else 'cold-start' end",
    **{name: name for name in ATTRIBUTES},
}
BY = (*SLICES, "slot", NO_LIST)

# Figure -> what is summed over users, above and below the line.
RATIOS = {
    **{name: (name, f"{name} is not null") for name in METRICS},
    "click_through": ("n_clicked", "n_slots"),
    "purchase_through": ("n_bought", "n_slots"),
    "conversion": ("n_converted", "n_sessions"),
    "revenue_per_session": ("spent", "n_sessions"),
    "average_order": ("spent", "n_orders"),
}
MONEY = ("revenue_per_session", "average_order")
SUMS = ("n_lists", "n_judged", "n_slots", "n_clicked", "n_bought", "n_sessions", "n_orders", "revenue")

# One row for each list of the day: what it is sliced by, its metrics, its sums and its session.
PER_LIST = """
create or replace temp table per_list as
with of_slots as (
    select list, count(*) as n_slots, sum(clicked) as n_clicked, sum(bought) as n_bought, sum(revenue) as revenue,
           sum(n_priced) as n_priced, sum(n_purchases) as n_purchases
    from counted group by all)
select judged.*, scene, strategy, version, segment, industry, region, session, of_slots.* exclude list
from judged join lists using (list) join seen_in using (list) left join of_slots using (list)
left join labels on labels.user_id = judged.user_id
"""
SLOT_SUMS = "n_slots", "n_clicked", "n_bought", "revenue", "n_priced", "n_purchases"
SESSION_SUMS = """count(*) as n_sessions, sum(converted) as n_converted, sum(n_orders) as n_orders,
                  sum(spent) as spent, sum(n_priced) as n_priced_here, sum(n_purchases) as n_purchases_here"""


def _per_user() -> str:
    """The SQL of the table `per_user`: one row for each user in each slice."""
    means = ", ".join(f"avg({name}) as {name}" for name in METRICS)
    sums = ", ".join(f"sum({name}) as {name}" for name in SLOT_SUMS)
    of_lists = [
        f"""
        select '{kind}' as kind, * from (
            select {value} as value, user_id, count(*) as n_lists, count(ndcg) as n_judged, {means}, {sums}
            from per_list where value is not null group by all)
        left join (
            select value, user_id, {SESSION_SUMS}
            from (select distinct {value} as value, session from per_list) join sessions using (session) group by all)
        using (value, user_id)
        """
        for kind, value in SLICES.items()
    ]
    of_slots = f"""
        select 'slot' as kind, case when slot > {LAST_SLOT} then 'after {LAST_SLOT}' else slot::varchar end as value,
               user_id, count(*) as n_slots, sum(clicked) as n_clicked, sum(bought) as n_bought,
               sum(revenue) as revenue, sum(n_priced) as n_priced, sum(n_purchases) as n_purchases
        from counted group by all
        """
    of_others = f"""
        select '{NO_LIST}' as kind, '{NO_LIST}' as value, user_id, {SESSION_SUMS}
        from sessions anti join seen_in using (session) group by all
        """
    return "create or replace temp table per_user as " + " union all by name ".join([*of_lists, of_slots, of_others])


def label_users(engine: duckdb.DuckDBPyConnection, users: pa.Table) -> None:
    """Makes the table `labels`: user_id and ATTRIBUTES. users: in schema.USERS; a user may have no attributes."""
    engine.register("attributes", users)
    columns = ", ".join(
        f"case when {name} = '' then null when {name} in (select {name} from attributes where {name} != '' "
        f"group by {name} order by count(*) desc, {name} limit {MAX_VALUES}) then {name} "
        f"when {name} is not null then 'other' end as {name}"
        for name in ATTRIBUTES
    )
    engine.execute(
        f"create or replace temp table labels as select distinct on (user_id) user_id, {columns} from attributes"
    )


def figures(engine: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row for each slice: by, value, n_users, SUMS, and each figure with the ends of its interval, _low and _high.

    nan where a figure is undefined. It needs the tables of quality.judge(), business.count_slots(), find_sessions() and
    label_users() in the engine.
    """
    engine.execute(PER_LIST)
    engine.execute(_per_user())
    of_ratios = ", ".join(
        f"count(*) filter (b_{name} > 0) as n_{name}, sum(a_{name}) as a_{name}, sum(b_{name}) as b_{name}, "
        f"sum(a_{name} * a_{name}) as aa_{name}, sum(a_{name} * b_{name}) as ab_{name}, "
        f"sum(b_{name} * b_{name}) as bb_{name}"
        for name in RATIOS
    )
    parts = ", ".join(
        f"coalesce({above}, 0)::double as a_{name}, coalesce({below}, 0)::double as b_{name}"
        for name, (above, below) in RATIOS.items()
    )
    sums = ", ".join(f"coalesce(sum({name}), 0) as {name}" for name in SUMS)
    found = engine.execute(
        f"""
        select kind as "by", value, count(*) as n_users, {sums},
               sum(n_purchases) > 0 and sum(n_priced) = 0 as lacks_prices,
               sum(n_purchases_here) > 0 and sum(n_priced_here) = 0 as lacks_prices_here, {of_ratios}
        from (select *, {parts} from per_user) group by kind, value
        """
    ).df()
    for name in RATIOS:
        summed = {
            part: found[f"{part}_{name}"].to_numpy(dtype=np.float64) for part in ("n", "a", "b", "aa", "ab", "bb")
        }
        found[name], found[f"{name}_low"], found[f"{name}_high"] = interval(**summed, at_most_1=name not in MONEY)
    found.loc[found["lacks_prices"].eq(True), "revenue"] = np.nan
    without = found["lacks_prices_here"].eq(True)
    for name in MONEY:
        found.loc[without, [name, f"{name}_low", f"{name}_high"]] = np.nan
    found["n_judged_users"] = found["n_ndcg"]
    return found


def interval(
    n: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    aa: NDArray[np.float64],
    ab: NDArray[np.float64],
    bb: NDArray[np.float64],
    at_most_1: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """a / b, and the ends of its 95 % interval, for sums over n users who are drawn at random.

    aa, ab, bb: the sums of the squares and products of each user's part of a and b. The variance is that of the
    linearised ratio (Cochran 1977, Sampling Techniques, section 6.4), the quantile that of Student's distribution with
    n - 1 degrees of freedom. a / b is nan where b is 0, the ends also where n is below 2. at_most_1: of a share.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / b
        squares = np.maximum(aa - 2 * ratio * ab + ratio**2 * bb, 0)
        error = np.sqrt(squares * n / (n - 1)) / b
        margin = np.where(n > 1, student.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1)) * error, np.nan)
    high = np.minimum(ratio + margin, 1) if at_most_1 else ratio + margin
    return np.where(b > 0, ratio, np.nan), np.where(b > 0, np.maximum(ratio - margin, 0), np.nan), high
