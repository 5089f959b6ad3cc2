"""MovieLens (GroupLens) in the layout of ml-latest-small: ratings.csv, movies.csv and, if there, tags.csv."""

from pathlib import Path

import duckdb
import pyarrow as pa

from recommenders.datasets import csv_lines
from recommenders.datasets.spec import Counts, Tables
from recommenders.errors import DataError

COLUMNS = {
    "movies": ("movieId", "title", "genres"),
    "ratings": ("userId", "movieId", "rating", "timestamp"),
    "tags": ("userId", "movieId", "tag", "timestamp"),
}

MOVIES = r"""
    create table judged_movies as
    select *,
        case when broken is not null then broken
             when "movieId" is null or not regexp_full_match("movieId", '\d+')
                 then 'movie id is not a whole number'
             when row_number() over (partition by "movieId" order by line) > 1 then 'movie id occurs twice'
        end as lie
    from movies
"""

RATINGS = r"""
    create table judged_ratings as
    select r.*, try_cast(r.rating as double) as stars, try_cast(r.timestamp as bigint) as seconds,
        case when r.broken is not null then r.broken
             when r."userId" is null or not regexp_full_match(r."userId", '\d+')
                 then 'user id is not a whole number'
             when m."movieId" is null then 'unknown movie id'
             when stars is null or not stars between 0.5 and 5 then 'rating is not between 0.5 and 5'
             when seconds is null or not seconds between 0 and 4102444800
                 then 'time is not in seconds since 1970'
        end as lie
    from ratings r
    left join (select "movieId" from judged_movies where lie is null) m on m."movieId" = r."movieId"
"""

TAGS = """
    create table judged_tags as
    select t.*,
        case when t.broken is not null then t.broken
             when m."movieId" is null then 'unknown movie id'
             when t.tag is null then 'no tag'
        end as lie
    from tags t
    left join (select "movieId" from judged_movies where lie is null) m on m."movieId" = t."movieId"
"""

INTERACTIONS = """
    select distinct "userId" as user_id, "movieId" as item_id, make_timestamp(seconds * 1000000) as timestamp,
        'rating' as event, 1.0::float as weight, stars as rating
    from judged_ratings where lie is null order by timestamp, user_id, item_id, rating
"""

# A title ends in its year; "(no genres listed)" is how the source writes that it knows none.
ITEMS = r"""
    with words as (
        select "movieId", string_agg(distinct lower(tag), ' ' order by lower(tag)) as tags
        from judged_tags where lie is null group by 1
    ), known as (select *, nullif(genres, '(no genres listed)') as kinds from judged_movies where lie is null)
    select "movieId" as item_id, title, split_part(kinds, '|', 1) as category,
        concat_ws(' ', replace(kinds, '|', ' '), regexp_extract(title, '\((\d{4})\)$', 1), tags) as text
    from known left join words using ("movieId") order by item_id
"""

USERS = 'select distinct "userId" as user_id from judged_ratings where lie is null order by user_id'

QUARANTINE = " union all ".join(
    f"select 'movielens' as dataset, file, line, lie as reason, raw from judged_{table} where lie is not null"
    for table in COLUMNS
)


def read(source: Path) -> Tables:
    """The folder's tables. An event is a rating of 0.5 to 5 stars, weight 1; the first genre is an item's
    category.

    Counts are of ratings, plus the rows of movies and tags that had to be quarantined. Tags of all times go
    into an item's text. Raises DataError if a file is missing, cannot be read as a whole, or holds no rows,
    or if no rating is kept.
    """
    folder = source if source.is_dir() else source.parent
    with duckdb.connect() as connection:
        for table, columns in COLUMNS.items():
            path = folder / f"{table}.csv"
            if not path.is_file() and table != "tags":
                raise DataError(f"movielens: {path} is missing; expected ratings.csv and movies.csv in one folder")
            n_rows = csv_lines.load(connection, "movielens", table, [path] if path.is_file() else [], columns)
            if n_rows == 0 and table != "tags":
                raise DataError(f"movielens: {path} has a header but no rows; expected some; fetch it again")
        for sql in (MOVIES, RATINGS, TAGS):
            connection.execute(sql)
        return _tables(connection, folder)


def _tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> Tables:
    def select(sql: str) -> pa.Table:
        return connection.sql(sql).to_arrow_table()

    interactions, quarantine = select(INTERACTIONS), select(QUARANTINE + " order by file, line")
    n_read, n_good = connection.execute(
        "select count(*), count(*) filter (lie is null) from judged_ratings"
    ).fetchall()[0]
    kept = interactions.num_rows
    if kept == 0:
        raise DataError(f"movielens: none of the {n_read} ratings in {folder} can be kept; check the columns and ids")
    counts = Counts(read=n_good + quarantine.num_rows, kept=kept, merged=n_good - kept, quarantined=quarantine.num_rows)
    return Tables.of(interactions, select(ITEMS), select(USERS), quarantine, counts)
