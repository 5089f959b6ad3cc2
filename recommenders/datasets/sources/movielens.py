"""Parser of MovieLens (GroupLens), in each of its layouts.

ml-latest-small, ml-25m ...   ratings.csv, movies.csv and optionally tags.csv
ml-1m                         ratings.dat, movies.dat, users.dat: "::" between fields, Latin-1
ml-100k                       u.data, u.item, u.user: tabs and bars between fields, Latin-1
"""

from pathlib import Path

from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.source_reading import Reading
from recommenders.errors import DataError

RATINGS = {"userId": "UINTEGER", "movieId": "UINTEGER", "rating": "DOUBLE", "timestamp": "BIGINT"}
MOVIES = {"movieId": "UINTEGER", "title": "VARCHAR", "genres": "VARCHAR"}
TAGS = {"userId": "UINTEGER", "movieId": "UINTEGER", "tag": "VARCHAR", "timestamp": "BIGINT"}
GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
OCCUPATIONS = (  # the numbers of ml-1m, by its README
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)

INTERACTIONS = """
    select "userId" as user_id, "movieId" as item_id, make_timestamptz("timestamp" * 1000000) as timestamp,
        'rating'::enum('rating') as event, 1.0 as weight, rating
    from good_ratings
"""

# A title ends in its year; "(no genres listed)" means that the source has no genres. Tags of a movie are known from
# the end of the quarter in which users wrote them.
ITEMS = r"""
    with tagged as (
        select "movieId", lower(tag) as word,
            min(date_trunc('quarter', make_timestamptz("timestamp" * 1000000)) + interval 3 month) as since
        from good_tags group by all
    ), quarters as (
        select "movieId", since, list(word) as words from tagged group by all
    ), states as (
        select "movieId", since,
            list_sort(flatten(list(words) over (partition by "movieId" order by since))) as words
        from quarters
        union all select "movieId", null, [] from good_movies
    )
    select m."movieId" as item_id, s.since as valid_from, m.title, split_part(m.kinds, '|', 1) as category,
        concat_ws(' ', replace(m.kinds, '|', ' '), nullif(regexp_extract(m.title, '\((\d{4})\)$', 1), ''),
                  nullif(array_to_string(s.words, ' '), '')) as text
    from (select "movieId", title, nullif(kinds, '(no genres listed)') as kinds from good_movies) m
    join states s using ("movieId") order by m."movieId", s.since nulls first
"""

USERS = """
    select user_id, work as industry, zip as region
    from (select distinct user_id from kept) left join
        (select "userId"::varchar as user_id, work, zip from good_people) using (user_id) order by user_id
"""


MOVIE_REJECT_RULES = {
    "no movie id": '"movieId" is null',
    "movie id occurs twice": 'row_number() over (partition by "movieId" order by file, line) > 1',
}
TIME_REJECT_RULES = {
    "time is not in seconds since 1970": 'coalesce(not "timestamp" between 0 and 4102444800, true)',
    "time is in the future": '"timestamp" > epoch(now()) + 86400',
}
RATING_REJECT_RULES = {
    "no user id": '"userId" is null',
    "no movie id": '"movieId" is null',
    "rating is not between 0.5 and 5": "coalesce(not rating between 0.5 and 5, true)",
    **TIME_REJECT_RULES,
}
TAG_REJECT_RULES = {"no tag": "tag is null", **TIME_REJECT_RULES}
PERSON_REJECT_RULES = {
    "no user id": '"userId" is null',
    "user id occurs twice": 'row_number() over (partition by "userId" order by file, line) > 1',
}


def parse(reading: Reading, source: Path) -> Plan:
    """An event is a rating of 0.5 to 5 stars, weight 1; the first genre is an item's category.

    Raises DataError if a file is missing or cannot be read completely.
    """
    folder = source if source.is_dir() else source.parent
    if (folder / "u.data").exists():
        genres, occupation = _read_100k(reading, folder)
    elif (folder / "ratings.dat").exists():
        genres, occupation = _read_1m(reading, folder)
    else:
        genres, occupation = _read_csv(reading, folder)
    for name in ("movies", "people"):
        reading.read_by_line(name)  # if an id is repeated, its first line is kept
    reading.apply_rules("movies", MOVIE_REJECT_RULES, select=f"*, {genres} as kinds")
    known = '(select "movieId" from good_movies)'
    reading.apply_rules("ratings", RATING_REJECT_RULES, references={"unknown movie id": f'"movieId" not in {known}'})
    reading.apply_rules(
        "tags", {"unknown movie id": f'"movieId" is null or "movieId" not in {known}', **TAG_REJECT_RULES}
    )
    reading.apply_rules("people", PERSON_REJECT_RULES, select=f"*, {occupation} as work")
    return Plan(INTERACTIONS, ITEMS, USERS, events=("ratings",), attributes=("movies", "tags", "people"))


def _read_csv(reading: Reading, folder: Path) -> tuple[str, str]:
    """Creates movies, ratings, tags and people; returns the SQL of genres and of an occupation."""
    reading.csv("movies", _required_file(folder, "movies.csv"), MOVIES)
    reading.csv("ratings", _required_file(folder, "ratings.csv"), RATINGS)
    reading.csv("tags", [p for p in [folder / "tags.csv"] if p.exists()], TAGS, optional=True)
    reading.csv("people", [], {"userId": "UINTEGER", "zip": "VARCHAR"})
    return "genres", "null::varchar"


def _read_1m(reading: Reading, folder: Path) -> tuple[str, str]:
    def read(name: str, file: str, columns: dict[str, str]) -> None:
        reading.csv(name, _required_file(folder, file), columns, delimiter="::", header=False, encoding="latin-1")

    read("movies", "movies.dat", MOVIES)
    read("ratings", "ratings.dat", RATINGS)
    person = {"userId": "UINTEGER", "gender": "VARCHAR", "age": "UINTEGER", "job": "UINTEGER", "zip": "VARCHAR"}
    read("people", "users.dat", person)
    reading.csv("tags", [], TAGS)
    jobs = ", ".join(f"'{job}'" for job in OCCUPATIONS)
    return "genres", f"[{jobs}][job + 1]"


def _read_100k(reading: Reading, folder: Path) -> tuple[str, str]:
    reading.csv("ratings", _required_file(folder, "u.data"), RATINGS, delimiter="\t", header=False)
    flags = dict.fromkeys((f"is {genre}" for genre in GENRES), "UINTEGER")
    heads = {"movieId": "UINTEGER", "title": "VARCHAR", "released": "VARCHAR", "video": "VARCHAR", "url": "VARCHAR"}
    reading.csv(
        "movies", _required_file(folder, "u.item"), heads | flags, delimiter="|", header=False, encoding="latin-1"
    )
    genres = ", ".join(f"if(\"is {genre}\" = 1, '{genre}', null)" for genre in GENRES[1:])
    person = {"userId": "UINTEGER", "age": "UINTEGER", "gender": "VARCHAR", "occupation": "VARCHAR", "zip": "VARCHAR"}
    reading.csv("people", _required_file(folder, "u.user"), person, delimiter="|", header=False, encoding="latin-1")
    reading.csv("tags", [], TAGS)
    return f"nullif(concat_ws('|', {genres}), '')", "occupation"


def _required_file(folder: Path, name: str) -> list[Path]:
    path = folder / name
    if not path.is_file():
        raise DataError(f"movielens: {path} is missing; it must be in the folder of the ratings")
    return [path]
