"""Retailrocket: four and a half months of a shop's views, carts and purchases, with its items as they were each week.

events.csv                    timestamp (ms), visitorid, event, itemid, transactionid
item_properties_part*.csv     timestamp (ms), itemid, property, value: told anew when it changes
category_tree.csv             categoryid, parentid

All but `categoryid` and `available` is hashed: words are tokens, numbers are written n277.200. Which property means
what the publisher does not say, so none is taken for a price or a name.
"""

from pathlib import Path

from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.lines import path_literal, text_literal
from recommenders.datasets.reading.reading import Reading
from recommenders.datasets.spec import real_files
from recommenders.errors import DataError

# What an event tells of the wish to have the item, a purchase being 1. In this log about one cart in three, but fewer
# than one view in a hundred leads to a purchase; a view is given more than that, since there are forty to one of the
# others and they alone know most items.
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

TEXT_PROPERTIES = 12  # the properties with words that most items have make an item's text ...
TEXT_WORDS = 16  # ... of so many words each at most
ROWS_AT_ONCE = 2_000_000  # properties whose items are put together in memory

FIRST_DAY, FAR = 1356998400000, 4102444800000  # 2013, when the publisher was founded, and 2100, in milliseconds
WRONG_TIME = {
    "time is not in milliseconds since 2013": f'coalesce(not "timestamp" between {FIRST_DAY} and {FAR}, true)',
    "time lies in the future": '"timestamp" > (epoch(now()) + 86400) * 1000',
}

INTERACTIONS = f"""
    select visitorid as user_id, itemid as item_id, make_timestamptz("timestamp" * 1000) as timestamp, event,
        case event {" ".join(f"when '{event}' then {weight}" for event, weight in EVENT_WEIGHTS.items())} end as weight,
        transactionid as order_id
    from good_events
"""

# Numbers change every week and say little about what an item is: an item's text is its words.
STAGE = """
    copy (
        select itemid, "timestamp" as t, property, case
            when not contains("value", ' ') then if("value" like 'n%', null, "value")
            else nullif(array_to_string(
                list_filter(string_split("value", ' '), word -> word not like 'n%')[:{words}], ' '), '') end as said
        from good_properties
    ) to {target} (format parquet)
"""

WORDY = """
    create table wordy as
    select property, row_number() over (order by count(*) desc, property) as place from read_parquet({path})
    where said is not null and property not in ('categoryid', 'available')
    group by property order by place limit {most}
"""

# What was last said of an item holds until something else is; of two things said at one moment the greater one.
SNAPSHOTS = """
    insert into snapshots
    with told as (
        select itemid, t, {columns}
        from read_parquet({path}) left join wordy using (property)
        where itemid % {parts} = {part} and said is not null group by itemid, t
    ), known as (
        select itemid, t, {carried} from told window so_far as (partition by itemid order by t)
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

# A first row without attributes says since when the item is heard of; the others what was known from when.
ITEMS = """
    with heard as (
        select itemid, min(t) as since from (
            select itemid, min(t) as t from snapshots group by itemid
            union all select item_id::uinteger, min(epoch_ms(timestamp)) from kept group by 1
        ) group by itemid
    ), stretches as (
        select *, gone and not coalesce(lag(gone) over item, false) as goes from snapshots
        window item as (partition by itemid order by t)
    ), known as (
        select *, if(gone, max(if(goes, t, null)) over (partition by itemid order by t), null) as until from stretches
    )
    select itemid as item_id, make_timestamptz(t * 1000) as valid_from, coalesce(root, category) as category,
        category as subcategory, nullif(words, '') as text, make_timestamptz(since * 1000) as available_from,
        make_timestamptz(until * 1000) as available_until
    from (select itemid, null as t, null as category, null as words, null as until from heard
          union all by name select itemid, t, category, words, until from known)
    join heard using (itemid) left join roots using (category) order by itemid, t nulls first
"""


def parse(reading: Reading, source: Path) -> Plan:
    """An event is a view, a cart or a purchase, weighted by EVENT_WEIGHTS; its order is the transaction.

    An item has a row without attributes since ever, and one for each moment at which its category, availability or
    text changed. Its category is the root of the tree above `categoryid`, its subcategory `categoryid` itself. It is
    available from when it is first heard of, by an event or a property, until the row's time where `available` is 0;
    later rows may have it back. Raises DataError if a file is missing or cannot be read as a whole.
    """
    folder = source if source.is_dir() else source.parent
    reading.csv("events", [_there(folder / "events.csv")], EVENTS)
    reading.csv("categories", [_there(folder / "category_tree.csv")], CATEGORIES, optional=True)
    parts = real_files(folder, ["item_properties_part*.csv"]) or [_there(folder / "item_properties_part1.csv")]
    reading.csv("properties", parts, PROPERTIES, optional=True)
    reading.by_line("categories")  # of an id that stands twice, the first line counts
    _judge(reading)
    _take_snapshots(reading)
    reading.run(ROOTS)
    users = "select distinct user_id from kept order by user_id"
    return Plan(INTERACTIONS, ITEMS, users, events=("events",), attributes=("properties", "categories"))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"retailrocket: {path} is missing; it must lie beside the others of the data set")
    return path


def _judge(reading: Reading) -> None:
    names = ", ".join(f"'{event}'" for event in EVENT_WEIGHTS)
    reading.judge(
        "events",
        {
            **WRONG_TIME,
            "no visitor id": "visitorid is null",
            f"event is none of {', '.join(EVENT_WEIGHTS)}": f"coalesce(event not in ({names}), true)",
            "no item id": "itemid is null",
            "a transaction without its id": "event = 'transaction' and transactionid is null",
            "a transaction id without a transaction": "event <> 'transaction' and transactionid is not null",
        },
    )
    reading.judge(
        "properties",
        {
            **WRONG_TIME,
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
    lies = {"no category id": "categoryid is null", "category id occurs twice": twice}
    reading.judge("categories", lies | {"a category above itself": "categoryid = parentid"})


def _take_snapshots(reading: Reading) -> None:
    """Makes `snapshots` (itemid, t, category, gone, words), some items at a time: any number of rows will do."""
    path = reading.work / "properties.parquet"
    stage = STAGE.format(target=text_literal(str(path)), words=TEXT_WORDS)
    n_good = int(reading.run(stage)[0][0])
    if not reading.rest("properties", n_good):
        n_good = int(reading.run(stage)[0][0])
    # they are counted once more in the end, which takes a moment of what is staged and long of the files
    reading.run(f"create or replace view good_properties as from read_parquet({path_literal(path)})")
    reading.run(WORDY.format(path=path_literal(path), most=TEXT_PROPERTIES))
    reading.run("create table snapshots (itemid uinteger, t bigint, category uinteger, gone boolean, words varchar)")
    texts = [f"text{place}" for place in range(1, TEXT_PROPERTIES + 1)]
    sources = {name: f"place = {place}" for place, name in enumerate(texts, 1)}
    sources |= {"category": "property = 'categoryid'", "available": "property = 'available'"}
    columns = ", ".join(f"max(said) filter ({condition}) as {name}" for name, condition in sources.items())
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
