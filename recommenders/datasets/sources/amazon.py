"""Parser of Amazon product reviews (McAuley Lab, UC San Diego), in the layouts of 2014, 2018 and 2023.

A folder has one edition: reviews and optionally products, each in one file per category, JSON lines, plain or gzipped.

2014   reviewerID asin overall unixReviewTime; products are lines of Python literals with categories [[...]]
2018   the same keys; products are JSON lines with category [...]
2023   user_id parent_asin rating timestamp (ms); products are JSON lines, named by parent_asin

An item's rating stays null: average_rating and rating_number date from the crawl, after the last review, and would leak
the future into the features. A price dates from the crawl too, but does not depend on the reviews, so it is kept.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.literals import read_literal, to_json
from recommenders.datasets.reading.source_reading import Reading
from recommenders.datasets.reading.text import prepare
from recommenders.datasets.spec import find_files
from recommenders.errors import DataError

FILES = ("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz")
FIRST = 1 << 20  # bytes at the start of a file that are used to recognise its layout
MAX_TEXT = 2000  # characters of a description
REVIEWS_BEGAN, FAR = 788918400, 4102444800  # 1995, when the shop opened, and 2100, in seconds


@dataclass(frozen=True)
class Layout:
    """The keys and SQL expressions of an edition."""

    editions: str
    user: str
    item: str
    rating: str
    time: str
    per_second: int  # the unit of `time`
    products: tuple[str, ...]  # keys of a product; most of them are missing from some products
    path: str  # SQL of the categories of a product, the outermost first
    brand: str
    words: str  # SQL of the description of a product

    @property
    def reviews(self) -> Mapping[str, str]:
        """The keys of a review and their types."""
        return {self.user: "VARCHAR", self.item: "VARCHAR", self.rating: "DOUBLE", self.time: "BIGINT"}


OLD = Layout(
    *("2014 and 2018", "reviewerID", "asin", "overall", "unixReviewTime", 1),
    products=("asin", "title", "price", "brand", "description", "category", "categories"),
    path="coalesce(strings(category), try(json_extract_string(categories, '$[0][*]')))",
    brand="brand",
    words="plain(description)",
)
NEW = Layout(
    *("2023", "user_id", "parent_asin", "rating", "timestamp", 1000),
    products=("parent_asin", "title", "price", "store", "description", "features", "categories", "main_category"),
    path="if(len(strings(categories)) > 0, strings(categories), [main_category])",
    brand="store",
    words="concat_ws(' ', plain(description), plain(features))",
)

MACROS = (
    # a JSON list of strings as a list; null if it is not such a list
    "create macro strings(x) as try(json_extract_string(if(x like '[%', x, null), '$[*]'))",
    # a text, or a JSON list of texts, without its tags; null if nothing is left
    r"""create macro plain(x) as nullif(trim(replace(regexp_replace(
        coalesce(array_to_string(strings(x), ' '), x), '(<[^>]*>|\s)+', ' ', 'g'), '&amp;', '&')), '')""",
    # null if the crawl took the page's style or script for the value
    r"create macro clean(x) as if(regexp_matches(x, '<[A-Za-z/!]|\{|\}'), null, plain(x))",
    # "$1,299.00" and 1299; of "$5.99 - $12.99" the lower one, from which the product can be had; null for anything else
    r"""create macro dollars(x) as nullif(try_cast(replace(regexp_extract(
        x, '^(?:from )?\$? ?(\d[\d,]*(?:\.\d+)?)(?: - \$? ?\d[\d,]*(?:\.\d+)?)?$', 1), ',', '') as double), 0)""",
)

# If a product occurs several times, the row with the longest description is used.
ITEMS = """
    with listed as (
        select "{item}" as item_id, clean(title) as title, {path} as path, clean({brand}) as brand,
            dollars(price) as price, left({words}, {most}) as words
        from good_products
    ), products as (
        select * from listed qualify row_number() over (
            partition by item_id
            order by coalesce(length(words), -1) desc, coalesce(title, ''), coalesce(price, -1), coalesce(words, '')
        ) = 1
    )
    select item_id, title, clean(path[1]) as category, clean(path[2]) as subcategory, brand, price,
        nullif(concat_ws(' ', title, words), '') as text
    from (select distinct item_id from kept) full join products using (item_id) order by item_id
"""

INTERACTIONS = """
    select "{user}" as user_id, "{item}" as item_id, make_timestamptz("{time}" * {microseconds}) as timestamp,
        'rating' as event, 1.0 as weight, "{rating}" as rating
    from good_reviews
"""


def parse(reading: Reading, source: Path) -> Plan:
    """An event is a review, weight 1, with 1 to 5 stars; the item id is `asin` or, in 2023, `parent_asin`.

    Reviews with equal user, item, time and rating count once. The outermost category is an item's category, the next
    one its subcategory. Raises DataError if a file cannot be read completely, or if two editions are mixed.
    """
    layout, reviews, products = _classify_files(reading, source)
    for macro in MACROS:
        reading.run(macro)
    reading.json("reviews", reviews, layout.reviews)
    reading.json("products", products, dict.fromkeys(layout.products, "VARCHAR"))
    first, latest = REVIEWS_BEGAN * layout.per_second, FAR * layout.per_second
    unit = "seconds" if layout.per_second == 1 else "milliseconds"
    no_product = _no_product(layout.item)
    reading.apply_rules(
        "reviews",
        {
            f"no {layout.user}": f'"{layout.user}" is null',
            f"{layout.user} is not an id": rf"""not regexp_full_match("{layout.user}", '[#\w-]+')""",
            **no_product,
            "rating is not between 1 and 5": f'coalesce(not "{layout.rating}" between 1 and 5, true)',
            f"time is not in {unit} since 1995": f'coalesce(not "{layout.time}" between {first} and {latest}, true)',
            "time is in the future": f'"{layout.time}" > (epoch(now()) + 86400) * {layout.per_second}',
        },
    )
    reading.apply_rules("products", no_product)
    words = {"user": layout.user, "item": layout.item, "rating": layout.rating, "time": layout.time}
    return Plan(
        INTERACTIONS.format(**words, microseconds=1_000_000 // layout.per_second),
        ITEMS.format(item=layout.item, path=layout.path, brand=layout.brand, words=layout.words, most=MAX_TEXT),
        "select distinct user_id from kept order by user_id",
        events=("reviews",),
        attributes=("products",),
    )


def _no_product(key: str) -> dict[str, str]:
    return {f"no {key}": f'"{key}" is null', f"{key} is not ten letters and digits": _not_asin(key)}


def _not_asin(key: str) -> str:
    return f"not regexp_full_match(\"{key}\", '[A-Z0-9]{{10}}')"


def _classify_files(reading: Reading, source: Path) -> tuple[Layout, list[Path], list[Path]]:
    """The layout, the files of reviews and the files of products; Python literals are converted to JSON."""
    paths = [source] if source.is_file() else find_files(source, FILES)
    reviews: dict[Path, Layout] = {}
    products: dict[Path, Layout] = {}
    for path in paths:
        rows, are_literals = _first_rows(path)
        if are_literals or not rows:  # the reader checks all other files; this check gives the better message
            prepare(path, reading.dataset, reading.work, header=False, zipped=True)
        layout, are_reviews = _recognise(rows, path)
        (reviews if are_reviews else products)[_as_json(path, reading) if are_literals else path] = layout
    if not reviews:
        raise DataError(f"amazon: {source} has products but no reviews; download the file of reviews too")
    layouts = {layout.editions: layout for layout in [*reviews.values(), *products.values()]}
    if len(layouts) > 1:
        raise DataError(f"amazon: {source} mixes editions: {' with '.join(layouts)}; keep one edition in a folder")
    return next(iter(layouts.values())), list(reviews), list(products)


def _first_rows(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The first objects of the file, and whether they are Python literals; no objects if the file is damaged."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            lines = file.read(FIRST).decode(errors="replace").split("\n")[:50]
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return [], False
    for read in (_read_json, read_literal):
        rows = [row for line in lines if isinstance(row := read(line), dict)]
        if rows:
            return rows, read is read_literal
    return [], False


def _read_json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _recognise(rows: list[dict[str, Any]], path: Path) -> tuple[Layout, bool]:
    """The layout, and whether the rows are reviews; decided by the majority of the rows."""
    votes = Counter(found for row in rows if (found := _kind(row)))
    if not votes:
        got = ", ".join(rows[0])[:200] if rows else "no JSON object"
        raise DataError(
            f"amazon: {path} has neither reviews nor products: got {got}; expected lines with "
            f"{', '.join(OLD.reviews)} or {', '.join(NEW.reviews)}; download it again"
        )
    [(is_new, are_reviews), _] = votes.most_common(1)[0]
    layout = NEW if is_new else OLD
    missing = [key for key in layout.reviews if are_reviews and not any(key in row for row in rows)]
    if missing:
        expected = ", ".join(layout.reviews)
        raise DataError(
            f"amazon: {path} lacks {', '.join(missing)}; got {', '.join(rows[0])[:200]}; expected {expected}"
        )
    return layout, are_reviews


def _kind(row: dict[str, Any]) -> tuple[bool, bool] | None:
    """(is a row of 2023, is a review); None if the row is neither a review nor a product."""
    for is_new, layout in ((True, NEW), (False, OLD)):
        are_reviews = any(key in row for key in (layout.user, layout.rating, layout.time))
        if are_reviews or layout.item in row:
            return is_new, are_reviews
    return None


def _as_json(path: Path, reading: Reading) -> Path:
    """A JSON copy of a file of literals, with the same name, so that bad rows are reported under that name."""
    folder = reading.work / "literals"
    folder.mkdir(exist_ok=True)
    to_json(path, folder / path.name)
    return folder / path.name
