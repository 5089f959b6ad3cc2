"""Parser of Retailrocket: 4.5 months of a shop's views, carts and purchases, with weekly snapshots of its items.

events.csv                    timestamp (ms), visitorid, event, itemid, transactionid
item_properties_part*.csv     timestamp (ms), itemid, property, value: a new row when it changes
category_tree.csv             categoryid, parentid

All properties but `categoryid` and `available` are hashed: words are tokens, numbers are written n277.200. The
publisher does not document the meaning of the properties, so none is used as a price or a name.
"""

from pathlib import Path

from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.lines import path_literal, text_literal
from recommenders.datasets.reading.source_reading import Reading
from recommenders.datasets.spec import find_files
from recommenders.errors import DataError

# The weight of an event as a sign of interest, relative to a purchase. In this log about one cart in three, but fewer
# than one view in a hundred, leads to a purchase. A view gets a higher weight than that, since there are forty views
# for each other event and most items have views only.
EVENT_WEIGHTS = {"view": 0.1, "addtocart": 0.5, "transaction": 1.0}

EVENTS = {
    "timestamp": "BIGINT",
    "visitorid": "UINTEGER",
    "event": "VARCHAR",
    "itemid": "UINTEGER",
    "transactionid": "UINTEGER",
}
PROPERTIES = {"timestamp": "BIGINT", "itemid": "UINTEGER", "property": "VARCHAR", "value": "VARCHAR"}
CATEGORIES = {"categoryid": "UINTEGER", "parentid": "UINTEGER"}

TEXT_PROPERTIES = 12  # an item's text consists of the most frequent properties with words ...
TEXT_WORDS = 16  # ... with at most this many words each
ROWS_AT_ONCE = 2_000_000  # rows of properties that are processed in memory at once

FIRST_DAY, FAR = 1356998400000, 4102444800000  # 2013, when the publisher was founded, and 2100, in milliseconds
TIME_REJECT_RULES = {
    "time is not in milliseconds since 2013": f'coalesce(not "timestamp" between {FIRST_DAY} and {FAR}, true)',
    "time is in the future": '"timestamp" > (epoch(now()) + 86400) * 1000',
}

INTERACTIONS = f"""
    select visitorid as user_id, itemid as item_id, make_timestamptz("timestamp" * 1000) as timestamp, event,
        case event {" ".join(f"when '{event}' then {weight}" for event, weight in EVENT_WEIGHTS.items())} end as weight,
        transactionid as order_id
    from good_events
"""

# Numbers change every week and describe an item poorly, so an item's text consists of words only.
STAGE = """
    copy (
        select itemid, "timestamp" as t, property, case
            when not contains("value", ' ') then if("value" like 'n%', null, "value")
            else nullif(array_to_string(
                list_filter(string_split("value", ' '), word -> word not like 'n%')[:{words}], ' '), '') end as text
        from good_properties
    ) to {target} (format parquet)
"""

WORDY = """
    create table wordy as
    select property, row_number() over (order by count(*) desc, property) as place from read_parquet({path})
    where text is not null and property not in ('categoryid', 'available')
    group by property order by place limit {most}
"""

# A property value is valid until the item's next value; of two values at the same time the greater one is used.
SNAPSHOTS = """
    insert into snapshots
    with changes as (
        select itemid, t, {columns}
        from read_parquet({path}) left join wordy using (property)
        where itemid % {parts} = {part} and text is not null group by itemid, t
    ), known as (
        select itemid, t, {carried} from changes window so_far as (partition by itemid order by t)
    ), described as (
        select itemid, t, try_cast(category as uinteger) as category, available, concat_ws(' ', {texts}) as words
        from known
    )
    select itemid, t, category, available = '0' as gone, words from described qualify (category, available, words)
        is distinct from lag((category, available, words)) over (partition by itemid order by t)
"""

ROOTS = """
    create table roots as
    with recursive up as (
        select categoryid as category, categoryid as top, 0 as height from good_categories
        union all
        select category, parentid, height + 1 from up join good_categories on categoryid = top
        where parentid is not null and height < 64
    )
    select category, arg_max(top, height) as root from up group by category
"""

# The first row of an item has no attributes and gives its first appearance; the others have the attributes at a time.
ITEMS = """
    with first_seen as (
        select itemid, min(t) as since from (
            select itemid, min(t) as t from snapshots group by itemid
            union all select item_id::uinteger, min(epoch_ms(timestamp)) from kept group by 1
        ) group by itemid
    ), changes as (
        select *, gone and not coalesce(lag(gone) over item, false) as ends from snapshots
        window item as (partition by itemid order by t)
    ), known as (
        select *, if(gone, max(if(ends, t, null)) over (partition by itemid order by t), null) as until from changes
    )
    select itemid as item_id, make_timestamptz(t * 1000) as valid_from, coalesce(root, category) as category,
        category as subcategory, nullif(words, '') as text, make_timestamptz(since * 1000) as available_from,
        make_timestamptz(until * 1000) as available_until
    from (select itemid, null as t, null as category, null as words, null as until from first_seen
          union all by name select itemid, t, category, words, until from known)
    join first_seen using (itemid) left join roots using (category) order by itemid, t nulls first
"""


def parse(reading: Reading, source: Path) -> Plan:
    """An event is a view, a cart or a purchase, weighted by EVENT_WEIGHTS; its order is the transaction.

    An item has one row without attributes and without a start, and one row for each time at which its category,
    availability or text changed. Its category is the root of the tree above `categoryid`, its subcategory is
    `categoryid`. It is available from its first event or property until the time of a row where `available` is 0;
    later rows may make it available again. Raises DataError if a file is missing or cannot be read completely.
    """
    folder = source if source.is_dir() else source.parent
    reading.csv("events", [_required_file(folder / "events.csv")], EVENTS)
    reading.csv("categories", [_required_file(folder / "category_tree.csv")], CATEGORIES, optional=True)
    parts = find_files(folder, ["item_properties_part*.csv"]) or [_required_file(folder / "item_properties_part1.csv")]
    reading.csv("properties", parts, PROPERTIES, optional=True)
    reading.read_by_line("categories")  # if an id is repeated, its first line is kept
    _apply_rules(reading)
    _take_snapshots(reading)
    reading.run(ROOTS)
    users = "select distinct user_id from kept order by user_id"
    return Plan(INTERACTIONS, ITEMS, users, events=("events",), attributes=("properties", "categories"))


def _required_file(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"retailrocket: {path} is missing; it must be in the folder of the other files")
    return path


def _apply_rules(reading: Reading) -> None:
    names = ", ".join(f"'{event}'" for event in EVENT_WEIGHTS)
    reading.apply_rules(
        "events",
        {
            **TIME_REJECT_RULES,
            "no visitor id": "visitorid is null",
            f"event is none of {', '.join(EVENT_WEIGHTS)}": f"coalesce(event not in ({names}), true)",
            "no item id": "itemid is null",
            "transaction without transaction id": "event = 'transaction' and transactionid is null",
            "transaction id without transaction": "event <> 'transaction' and transactionid is not null",
        },
    )
    reading.apply_rules(
        "properties",
        {
            **TIME_REJECT_RULES,
            "no item id": "itemid is null",
            "no property": "property is null",
            "property is neither a number nor categoryid nor available": "not regexp_full_match(property, '[0-9]+')"
            " and property not in ('categoryid', 'available')",
            "no value": '"value" is null',
            "available is neither 0 nor 1": "property = 'available' and \"value\" not in ('0', '1')",
            "category id is not a whole number": "property = 'categoryid' and"
            ' (not regexp_full_match("value", \'[0-9]+\') or try_cast("value" as uinteger) is null)',
        },
    )
    twice = "row_number() over (partition by categoryid order by file, line) > 1"
    reject_rules = {"no category id": "categoryid is null", "category id occurs twice": twice}
    reading.apply_rules("categories", reject_rules | {"category is its own parent": "categoryid = parentid"})


def _take_snapshots(reading: Reading) -> None:
    """Creates `snapshots` (itemid, t, category, gone, words), a part of the items at a time, in bounded memory."""
    path = reading.work / "properties.parquet"
    stage = STAGE.format(target=text_literal(str(path)), words=TEXT_WORDS)
    n_good = int(reading.run(stage)[0][0])
    if not reading.collect_dropped_rows("properties", n_good):
        n_good = int(reading.run(stage)[0][0])
    # ingest counts these rows again at the end; that is fast on the staged file and slow on the source files
    reading.run(f"create or replace view good_properties as from read_parquet({path_literal(path)})")
    reading.run(WORDY.format(path=path_literal(path), most=TEXT_PROPERTIES))
    reading.run("create table snapshots (itemid uinteger, t bigint, category uinteger, gone boolean, words varchar)")
    texts = [f"text{place}" for place in range(1, TEXT_PROPERTIES + 1)]
    sources = {name: f"place = {place}" for place, name in enumerate(texts, 1)}
    sources |= {"category": "property = 'categoryid'", "available": "property = 'available'"}
    columns = ", ".join(f"max(text) filter ({condition}) as {name}" for name, condition in sources.items())
    carried = ", ".join(f"last_value({name} ignore nulls) over so_far as {name}" for name in sources)
    n_parts = 1 + n_good // ROWS_AT_ONCE
    for part in range(n_parts):
        reading.run(
            SNAPSHOTS.format(
                path=path_literal(path),
                columns=columns,
                carried=carried,
                texts=", ".join(texts),
                parts=n_parts,
                part=part,
            )
        )
