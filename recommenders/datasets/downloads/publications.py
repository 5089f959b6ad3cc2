"""Declares the publishers' files. `fetch.py` downloads them, docs/data-sources.md documents them.

A checksum is declared only if independent copies agree on it (the MD5s are from GroupLens). Otherwise the publisher's
.md5 file is used; if there is none, only the size and the CRCs inside the zip or gzip are checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from recommenders.errors import ConfigurationError, UnknownNameError

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data"


@dataclass(frozen=True)
class Member:
    """A file of a zip: its path in the zip, its name in the folder, and an optional conversion."""

    path: str
    file: str
    convert: str = ""  # "module:function" (file, out) -> Path, if the file in the zip must be converted


@dataclass(frozen=True)
class Download:
    """One file of a publisher. With members it is a zip that contains them; otherwise it is kept as it is."""

    dataset: str
    variant: str
    url: str
    file: str
    checksum: str = ""  # "md5:..." or "sha256:..."
    checksum_url: str = ""  # the publisher's .md5 file
    n_bytes: int | None = None
    members: tuple[Member, ...] = ()
    login: str = ""  # the site that requires a login for the file, so that it cannot be downloaded automatically

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files in the folder after the download."""
        return tuple(member.file for member in self.members) or (self.file,)


@dataclass(frozen=True)
class Publication:
    """A data set as published. The user agrees to `terms` before anything is downloaded."""

    dataset: str
    page: str
    terms: str
    default: str = ""  # the variant that is used if none is given


PUBLICATIONS = {
    publication.dataset: publication
    for publication in (
        Publication(
            "custom_b2b",
            page="docs/data-sources.md",
            terms="Made by this project; do with it what you like.",
        ),
        Publication(
            "online_retail",
            page="https://archive.ics.uci.edu/dataset/352/online+retail",
            terms="Creative Commons Attribution 4.0 International (CC BY 4.0): share and adapt it for any purpose,\n"
            "also commercially, if you name the source: Chen, D. (2015). Online Retail. UCI Machine Learning\n"
            "Repository. https://doi.org/10.24432/C5BW33",
            default="xlsx",
        ),
        Publication(
            "movielens",
            page="https://grouplens.org/datasets/movielens/",
            terms="GroupLens terms, in short (the whole is in the README among the files):\n"
            "- do not state or imply any endorsement by the University of Minnesota or GroupLens;\n"
            "- acknowledge the data set in publications: Harper and Konstan 2015, https://doi.org/10.1145/2827872;\n"
            "- redistribute, where the README of the variant allows it, only under the same terms (ml-100k and ml-1m:\n"
            "  not without separate permission);\n"
            "- no commercial or revenue-bearing use without permission of GroupLens.",
            default="ml-latest-small",
        ),
        Publication(
            "amazon",
            page="https://cseweb.ucsd.edu/~jmcauley/datasets.html",
            terms="Offered by the McAuley Lab (UC San Diego) for research, with no licence stated; the texts belong\n"
            "to the reviewers and to Amazon. Cite for 2014: He and McAuley, WWW 2016; McAuley and others, SIGIR 2015;\n"
            "for 2018: Ni, Li and McAuley, EMNLP 2019; for 2023: Hou and others, arXiv 2403.03952.",
            default="2018-5core:Industrial_and_Scientific",
        ),
        Publication(
            "retailrocket",
            page="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
            terms="Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (CC BY-NC-SA 4.0): name Retailrocket, no\n"
            "commercial use, share what you make of it under the same licence. What its page on Kaggle says counts.",
            default="kaggle",
        ),
    )
}


def downloads(dataset: str, variant: str = "") -> tuple[Download, ...]:
    """The downloads of a variant, by default the publication's default; empty for a data set of this project.

    An amazon variant is EDITION:CATEGORY, such as 2018-5core:All_Beauty. Raises UnknownNameError with the allowed
    names.
    """
    wanted = variant or publication(dataset).default
    if dataset == "amazon":
        return _amazon(wanted)
    offered = {d.variant: d for d in DOWNLOADS if d.dataset == dataset}
    if not offered and not variant:
        return ()
    if wanted not in offered:
        raise UnknownNameError(f"variant of {dataset}", wanted, offered or ["none; leave --variant out"])
    return (offered[wanted],)


def publication(dataset: str) -> Publication:
    """The publication of that data set. Raises UnknownNameError with the known data sets."""
    if dataset not in PUBLICATIONS:
        raise UnknownNameError("dataset", dataset, PUBLICATIONS)
    return PUBLICATIONS[dataset]


def variants(dataset: str) -> Iterator[str]:
    """The allowed values of --variant for this data set."""
    if dataset == "amazon":
        yield from (f"{name}:{category}" for name, edition in EDITIONS.items() for category in edition.categories)
    else:
        yield from (d.variant for d in DOWNLOADS if d.dataset == dataset)


def _movielens(variant: str, files: str, **known: str | int) -> Download:
    return Download(
        "movielens",
        variant,
        f"{GROUPLENS}/{variant}.zip",
        f"{variant}.zip",
        checksum=str(known.get("checksum", "")),
        checksum_url=f"{GROUPLENS}/{variant}.zip.md5",
        n_bytes=int(known["n_bytes"]) if "n_bytes" in known else None,
        members=tuple(Member(f"{variant}/{file}", file) for file in files.split()),
    )


TABLES = "ratings.csv movies.csv tags.csv links.csv README.txt"
DOWNLOADS = (
    # ml-latest-small is a development set that may change, so only the publisher's current .md5 file is used.
    _movielens("ml-latest-small", TABLES),
    _movielens("ml-25m", TABLES, checksum="md5:6b51fb2759a8657d3bfcbfc42b592ada", n_bytes=261_978_986),
    _movielens("ml-1m", "ratings.dat movies.dat users.dat README", checksum="md5:c4d9eecfca2ab87c1945afe126590906"),
    _movielens(
        "ml-100k",
        "u.data u.item u.genre u.user u.occupation README",
        checksum="md5:0e33842e24a9c977be4e0107933c0723",
        n_bytes=4_924_029,
    ),
    Download(
        "online_retail",
        "xlsx",
        "https://archive.ics.uci.edu/static/public/352/online+retail.zip",
        "online+retail.zip",
        # UCI publishes no checksum; several independent downloads between 2024 and 2026 report this one.
        checksum="sha256:f5385cbb54bbebf7196389109c6b0621faab0c304e3702548165e71c84aede8b",
        n_bytes=23_715_478,
        members=(Member("Online Retail.xlsx", "online_retail.csv", "recommenders.datasets.reading.workbook:to_csv"),),
    ),
    Download(
        "retailrocket",
        "kaggle",
        "https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
        "archive.zip",
        members=tuple(
            Member(file, file)
            for file in ("events.csv", "item_properties_part1.csv", "item_properties_part2.csv", "category_tree.csv")
        ),
        login="Kaggle",
    ),
)


@dataclass(frozen=True)
class Edition:
    """One edition of the Amazon reviews: the paths of a category's reviews and products, and its categories."""

    reviews: str
    products: str
    categories: tuple[str, ...]


# The categories that all editions share, and those of single editions.
COMMON = """Automotive Books CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music
Electronics Grocery_and_Gourmet_Food Home_and_Kitchen Kindle_Store Movies_and_TV Musical_Instruments Office_Products
Patio_Lawn_and_Garden Pet_Supplies Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games"""
ONLY_2014 = "Amazon_Instant_Video Apps_for_Android Baby Beauty Health_and_Personal_Care"
SINCE_2018 = """All_Beauty Appliances Arts_Crafts_and_Sewing Gift_Cards Industrial_and_Scientific
Magazine_Subscriptions Software"""
ONLY_2018 = "AMAZON_FASHION Luxury_Beauty Prime_Pantry"
ONLY_2023 = """Amazon_Fashion Baby_Products Beauty_and_Personal_Care Handmade_Products Health_and_Household
Health_and_Personal_Care Subscription_Boxes Unknown"""


def _categories(*names: str) -> tuple[str, ...]:
    return tuple(sorted(" ".join(names).split(), key=str.lower))


IN_2014 = _categories(COMMON, ONLY_2014)
IN_2018 = _categories(COMMON, SINCE_2018, ONLY_2018)
IN_2023 = _categories(COMMON, SINCE_2018, ONLY_2023)
EDITIONS = {
    "2014": Edition("amazon/categoryFiles/reviews_{}.json.gz", "amazon/categoryFiles/meta_{}.json.gz", IN_2014),
    "2014-5core": Edition("amazon/categoryFiles/reviews_{}_5.json.gz", "amazon/categoryFiles/meta_{}.json.gz", IN_2014),
    "2018": Edition("amazon_v2/categoryFiles/{}.json.gz", "amazon_v2/metaFiles2/meta_{}.json.gz", IN_2018),
    "2018-5core": Edition("amazon_v2/categoryFilesSmall/{}_5.json.gz", "amazon_v2/metaFiles2/meta_{}.json.gz", IN_2018),
    "2023": Edition(
        "amazon_2023/raw/review_categories/{}.jsonl.gz", "amazon_2023/raw/meta_categories/meta_{}.jsonl.gz", IN_2023
    ),
}


def _amazon(variant: str) -> tuple[Download, ...]:
    name, colon, category = variant.partition(":")
    if not colon:
        raise ConfigurationError(
            f"--variant of amazon: got {variant!r}; expected EDITION:CATEGORY such as 2018-5core:All_Beauty;"
            f" editions are {', '.join(EDITIONS)}"
        )
    if name not in EDITIONS:
        raise UnknownNameError("edition of amazon", name, EDITIONS)
    edition = EDITIONS[name]
    if category not in edition.categories:
        raise UnknownNameError(f"category of amazon {name}", category, edition.categories)
    urls = (f"{MCAULEY}/{place.format(category)}" for place in (edition.reviews, edition.products))
    return tuple(Download("amazon", variant, url, url.rpartition("/")[2]) for url in urls)
