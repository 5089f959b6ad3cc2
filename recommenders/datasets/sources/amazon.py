"""Amazon product reviews (McAuley Lab, UC San Diego), in the layouts of 2014, 2018 and 2023.

A folder holds one edition: reviews and, if there, products, each in one file a category, JSON lines, plain or gzipped.

2014   reviewerID asin overall unixReviewTime; products are lines of Python literals with categories [[...]]
2018   the same keys; products are JSON lines with category [...]
2023   user_id parent_asin rating timestamp (ms); products are JSON lines, named by parent_asin

An item's rating stays unknown: average_rating and rating_number were taken when the site was crawled, after the last
review, and would tell a model its own future. A price is the crawl's too, but no sum of the reviews, so it is kept.
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
from recommenders.datasets.reading.reading import Reading
from recommenders.datasets.reading.text import prepare
from recommenders.datasets.spec import real_files
from recommenders.errors import DataError

FILES = ("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz")
FIRST = 1 << 20  # bytes of a file that are looked at to tell what it holds
MAX_TEXT = 2000  # characters of a description
REVIEWS_BEGAN, FAR = 788918400, 4102444800  # 1995, when the shop opened, and 2100, in seconds


@dataclass(frozen=True)
class Layout:
    """How an edition names things."""

    editions: str
    user: str
    item: str
    rating: str
    time: str
    per_second: int  # the unit of `time`
    products: tuple[str, ...]  # keys of a product; most are missing from some
    path: str  # the categories that a product lies in, the outermost first, as SQL
    brand: str
    words: str  # what describes a product, as SQL

    @property
    def reviews(self) -> Mapping[str, str]:
        """Keys of a review, with their types."""
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
    # a JSON list of strings as a list; null if it is none
    "create macro strings(x) as try(json_extract_string(if(x like '[%', x, null), '$[*]'))",
    # a text, or a JSON list of texts, without its tags; null if nothing is left
    r"""create macro plain(x) as nullif(trim(replace(regexp_replace(
        coalesce(array_to_string(strings(x), ' '), x), '(<[^>]*>|\s)+', ' ', 'g'), '&amp;', '&')), '')""",
    # null where the crawl took the page's style or script for the value
    r"create macro sound(x) as if(regexp_matches(x, '<[A-Za-z/!]|\{|\}'), null, plain(x))",
    # "$1,299.00" and 1299; of "$5.99 - $12.99" the lower one, from which the product can be had; null for anything else
    r"""create macro dollars(x) as nullif(try_cast(replace(regexp_extract(
        x, '^(?:from )?\$? ?(\d[\d,]*(?:\.\d+)?)(?: - \$? ?\d[\d,]*(?:\.\d+)?)?$', 1), ',', '') as double), 0)""",
)

# Of a product that is told several times, the row that says most counts.
ITEMS = """
    with told as (
        select "{item}" as item_id, sound(title) as title, {path} as path, sound({brand}) as brand,
            dollars(price) as price, left({words}, {most}) as words
        from good_products
    ), products as (
        select * from told qualify row_number() over (
            partition by item_id
            order by coalesce(length(words), -1) desc, coalesce(title, ''), coalesce(price, -1), coalesce(words, '')
        ) = 1
    )
    select item_id, title, sound(path[1]) as category, sound(path[2]) as subcategory, brand, price,
        nullif(concat_ws(' ', title, words), '') as text
    from (select distinct item_id from kept) full join products using (item_id) order by item_id
"""

INTERACTIONS = """
    select "{user}" as user_id, "{item}" as item_id, make_timestamptz("{time}" * {microseconds}) as timestamp,
        'rating' as event, 1.0 as weight, "{rating}" as rating
    from good_reviews
"""


def parse(reading: Reading, source: Path) -> Plan:
    """An event is a review, weight 1, with its 1 to 5 stars; an item is what `asin` or, in 2023, `parent_asin` names.

    Equal reviews of one user, item, time and rating count once. The outermost category is an item's category, the next
    its subcategory. Raises DataError if a file cannot be read as a whole, or if two editions are mixed.
    """
    layout, reviews, products = _sort_out(reading, source)
    for macro in MACROS:
        reading.run(macro)
    reading.json("reviews", reviews, layout.reviews)
    reading.json("products", products, dict.fromkeys(layout.products, "VARCHAR"))
    first, latest = REVIEWS_BEGAN * layout.per_second, FAR * layout.per_second
    unit = "seconds" if layout.per_second == 1 else "milliseconds"
    no_product = _no_product(layout.item)
    reading.judge(
        "reviews",
        {
            f"no {layout.user}": f'"{layout.user}" is null',
            f"{layout.user} is no id": rf"""not regexp_full_match("{layout.user}", '[#\w-]+')""",
            **no_product,
            "rating is not between 1 and 5": f'coalesce(not "{layout.rating}" between 1 and 5, true)',
            f"time is not in {unit} since 1995": f'coalesce(not "{layout.time}" between {first} and {latest}, true)',
            "time lies in the future": f'"{layout.time}" > (epoch(now()) + 86400) * {layout.per_second}',
        },
    )
    reading.judge("products", no_product)
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


def _sort_out(reading: Reading, source: Path) -> tuple[Layout, list[Path], list[Path]]:
    """The layout, the files of reviews and those of products; Python literals have become JSON."""
    paths = [source] if source.is_file() else real_files(source, FILES)
    reviews: dict[Path, Layout] = {}
    products: dict[Path, Layout] = {}
    for path in paths:
        rows, are_literals = _first_rows(path)
        if are_literals or not rows:  # else the reader looks for damage; here it says better what is wrong
            prepare(path, reading.dataset, reading.work, header=False, zipped=True)
        layout, are_reviews = _recognise(rows, path)
        (reviews if are_reviews else products)[_as_json(path, reading) if are_literals else path] = layout
    if not reviews:
        raise DataError(f"amazon: {source} holds products but no reviews; fetch the file of reviews too")
    layouts = {layout.editions: layout for layout in [*reviews.values(), *products.values()]}
    if len(layouts) > 1:
        raise DataError(f"amazon: {source} mixes editions: {' with '.join(layouts)}; keep one edition in a folder")
    return next(iter(layouts.values())), list(reviews), list(products)


def _first_rows(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The objects at the file's beginning, and whether they are Python literals; none where the file is damaged."""
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
    """The layout, and whether the rows are reviews; as most of them say."""
    told = Counter(found for row in rows if (found := _kind(row)))
    if not told:
        got = ", ".join(rows[0])[:200] if rows else "no JSON object"
        raise DataError(
            f"amazon: {path} holds neither reviews nor products: got {got}; expected a line each with "
            f"{', '.join(OLD.reviews)} or {', '.join(NEW.reviews)}; fetch it again"
        )
    [(is_new, are_reviews), _] = told.most_common(1)[0]
    layout = NEW if is_new else OLD
    missing = [key for key in layout.reviews if are_reviews and not any(key in row for row in rows)]
    if missing:
        expected = ", ".join(layout.reviews)
        raise DataError(
            f"amazon: {path} lacks {', '.join(missing)}; got {', '.join(rows[0])[:200]}; expected {expected}"
        )
    return layout, are_reviews


def _kind(row: dict[str, Any]) -> tuple[bool, bool] | None:
    """(Whether the row is of 2023, whether it is a review); None if it is neither review nor product."""
    for is_new, layout in ((True, NEW), (False, OLD)):
        are_reviews = any(key in row for key in (layout.user, layout.rating, layout.time))
        if are_reviews or layout.item in row:
            return is_new, are_reviews
    return None


def _as_json(path: Path, reading: Reading) -> Path:
    """A copy of a file of literals, under its own name so that bad rows are told by it."""
    folder = reading.work / "literals"
    folder.mkdir(exist_ok=True)
    to_json(path, folder / path.name)
    return folder / path.name
