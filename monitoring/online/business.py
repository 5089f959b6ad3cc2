"""Sessions of a day, and what was shown, clicked and bought in each slot.

A session is what a user did in one day (UTC) without a long pause: shown lists and events of all kinds.
"""

import duckdb

from monitoring.online.attribution import DAY, Attribution

MINUTE = 60_000_000  # microseconds
REVENUE = "coalesce(quantity, 1) * unit_price"  # of a purchase; one without a quantity is one unit


def count_slots(engine: duckdb.DuckDBPyConnection, day: int) -> None:
    """Makes the table `counted`: list, user_id, slot, clicked, bought (0 or 1), revenue, n_priced, n_purchases.

    It has a row for each slot of the day that was seen. revenue: of the purchases that belong to the slot, of which
    n_priced have a price. engine: from attribution.attributed().
    """
    engine.execute(
        f"""
        create or replace temp table counted as
        with places as (
            select list, user_id, unnest(range(1, n_slots + 1))::integer as slot from shown
            where day = {day} and not by_impressions
            union all
            select list, user_id, slot from shown join impressions using (list) where day = {day} and by_impressions),
        clicks as (select distinct list, slot, 1 as clicked from touches where event = 'click'),
        purchases as (
            select touches.list, slot, 1 as bought, sum({REVENUE}) as revenue, count(unit_price) as n_priced,
                   count(*) as n_purchases
            from touches join events using (sequence) where touches.event = 'purchase' group by all)
        select list, user_id, slot, coalesce(clicked, 0) as clicked, coalesce(bought, 0) as bought,
               coalesce(revenue, 0) as revenue, coalesce(n_priced, 0) as n_priced,
               coalesce(n_purchases, 0) as n_purchases
        from places left join clicks using (list, slot) left join purchases using (list, slot)
        """
    )


def find_sessions(engine: duckdb.DuckDBPyConnection, day: int, rules: Attribution) -> None:
    """Makes the tables `sessions` and `seen_in` of the day.

    sessions: session (its number), user_id, converted (0 or 1), n_orders, spent, n_priced, n_purchases. seen_in: list,
    session. Purchases of a session with one order id are one order, as are those without one and with one time.
    engine: from attribution.attributed().
    """
    engine.execute(
        f"""
        create or replace temp table activity as
        with moments as (
            select user_id, answered_at as time, list, null as event, null as order_id, null as quantity,
                   null as unit_price from shown where day = {day}
            union all
            select user_id, timestamp, null, event, coalesce('order ' || order_id, 'time ' || timestamp), quantity,
                   unit_price from events where timestamp >= {day * DAY} and timestamp < {(day + 1) * DAY}),
        begins as (
            select *, coalesce(time - lag(time) over of_user >= {round(rules.session_minutes * MINUTE)}, true) as is_new
            from moments window of_user as (partition by user_id order by time))
        select * exclude is_new, sum(is_new::int) over (order by user_id, time)::integer as session from begins;

        create or replace temp table seen_in as select list, session from activity where list is not null;

        create or replace temp table sessions as
        select session, user_id, max(event is not distinct from 'purchase')::integer as converted,
               count(distinct order_id) filter (event = 'purchase') as n_orders,
               coalesce(sum({REVENUE}) filter (event = 'purchase'), 0) as spent,
               count(unit_price) filter (event = 'purchase') as n_priced,
               count(*) filter (event = 'purchase') as n_purchases
        from activity group by session, user_id
        """
    )
