"""Sessions of a day, and what was shown, clicked and bought in each slot.

A session is what a user did in one day (UTC) without a long pause: shown lists and events of all kinds.
"""

import duckdb

from monitoring.online.attribution import DAY, Attribution

MINUTE = 60_000_000  # microseconds


def count_slots(engine: duckdb.DuckDBPyConnection, day: int) -> None:
    """Makes the table `counted`: request_id, user_id, slot, clicked, bought (0 or 1), revenue, n_priced, n_bought.

    It has a row for each slot of the day that was shown. revenue: of the purchases that belong to the slot; n_bought:
    their number; n_priced: the number of those with a price. engine: from attribution.attributed().
    """
    engine.execute(
        f"""
        create or replace temp table counted as
        with places as (
            select request_id, user_id, unnest(range(1, n_slots + 1)) as slot from shown
            where day = {day} and not by_impressions
            union all
            select request_id, user_id, slot from shown join impressions using (request_id)
            where day = {day} and by_impressions),
        done as (
            select touches.request_id, slot, max(touches.event = 'click')::int as clicked,
                   max(touches.event = 'purchase')::int as bought,
                   sum({_revenue()}) filter (touches.event = 'purchase') as revenue,
                   count(unit_price) filter (touches.event = 'purchase') as n_priced,
                   count(*) filter (touches.event = 'purchase') as n_bought
            from touches join events using (sequence) where touches.event != 'impression' group by all)
        select request_id, user_id, slot, coalesce(clicked, 0) as clicked, coalesce(bought, 0) as bought,
               coalesce(revenue, 0) as revenue, coalesce(n_priced, 0) as n_priced, coalesce(n_bought, 0) as n_bought
        from places left join done using (request_id, slot)
        """
    )


def find_sessions(engine: duckdb.DuckDBPyConnection, day: int, rules: Attribution) -> None:
    """Makes the tables `sessions` and `seen_in` of the day.

    sessions: user_id, session (its number for the user), converted (0 or 1), n_orders, revenue, n_priced, n_bought.
    seen_in: request_id, user_id, session. Purchases of a user with one order id are one order, as are those without
    one and with the same time. engine: from attribution.attributed().
    """
    engine.execute(
        f"""
        create or replace temp table activity as
        with moments as (
            select user_id, answered_at as time, request_id as list, null as event, null as order_id, null as quantity,
                   null as unit_price from shown where day = {day}
            union all
            select user_id, timestamp, null, event, coalesce('order ' || order_id, 'time ' || timestamp), quantity,
                   unit_price from events where timestamp >= {day * DAY} and timestamp < {(day + 1) * DAY}),
        begins as (
            select *, coalesce(time - lag(time) over of_user >= {round(rules.session_minutes * MINUTE)}, true) as is_new
            from moments window of_user as (partition by user_id order by time))
        select * exclude is_new, sum(is_new::int) over (partition by user_id order by time) as session from begins;

        create or replace temp table seen_in as
        select list as request_id, user_id, session from activity where list is not null;

        create or replace temp table sessions as
        select user_id, session, max(coalesce(event = 'purchase', false))::int as converted,
               count(distinct order_id) filter (event = 'purchase') as n_orders,
               coalesce(sum({_revenue()}) filter (event = 'purchase'), 0) as revenue,
               count(unit_price) filter (event = 'purchase') as n_priced,
               count(*) filter (event = 'purchase') as n_bought
        from activity group by all
        """
    )


def _revenue() -> str:
    """Of an event, in SQL. A purchase without a quantity is one unit."""
    return "coalesce(quantity, 1) * unit_price"
