"""The data sets by name: the built-in ones, and the user's custom data sets (docs/custom-data.md)."""

from collections.abc import Mapping
from pathlib import Path

from recommenders.datasets.spec import DatasetSpec, Protocol
from recommenders.errors import UnknownNameError

CUSTOM_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "datasets.yaml"

DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="custom_b2b",
            title="A simulated B2B marketplace: 2,000 users, 5,000 items in 7 categories, 25,000 orders",
            licence="made by this project; do with it what you like",
            layout="a folder with buyers.parquet, products.parquet and order_lines.parquet",
            files=("buyers.parquet", "products.parquet", "order_lines.parquet"),
            parser="recommenders.datasets.sources.custom_b2b:parse",
            generator="recommenders.simulation.market_files:write_world",
            generator_version=2,
            protocol=Protocol(split="time_cut", test_days=30, candidates="on_sale"),
        ),
        DatasetSpec(
            name="online_retail",
            title="Invoices of a UK wholesaler, December 2010 to December 2011",
            licence="CC BY 4.0; Daqing Chen, Online Retail, UCI Machine Learning Repository, 2015",
            layout="online_retail.csv or .csv.gz, daily files *.csv of the same columns, or the publisher's .xlsx",
            files=("*.csv", "*.csv.gz", "*.xlsx"),
            parser="recommenders.datasets.sources.online_retail:parse",
            protocol=Protocol(split="time_cut", test_days=60),
            real_data_folder="online_retail",
        ),
        DatasetSpec(
            name="movielens",
            title="MovieLens ratings (GroupLens)",
            licence="GroupLens terms: research use, redistribution under the same terms, no commercial use",
            layout="a folder as unpacked: ratings.csv, movies.csv, tags.csv (ml-latest-small, ml-25m), *.dat (ml-1m)"
            " or u.data, u.item, u.user (ml-100k)",
            files=("ratings.csv", "movies.csv", "tags.csv", "*.dat", "u.data", "u.item", "u.user"),
            parser="recommenders.datasets.sources.movielens:parse",
            protocol=Protocol(split="latest_out", repeat=False, relevant_events=("rating",)),
            real_data_folder="ml-latest-small",
        ),
        DatasetSpec(
            name="retailrocket",
            title="Views, carts and purchases of a shop, May to September 2015 (Retailrocket)",
            licence="CC BY-NC-SA 4.0; Retailrocket, on Kaggle",
            layout="a folder with events.csv, item_properties_part1.csv, item_properties_part2.csv, category_tree.csv",
            files=("events.csv", "item_properties_part*.csv", "category_tree.csv"),
            parser="recommenders.datasets.sources.retailrocket:parse",
            protocol=Protocol(
                split="time_cut",
                test_days=7,
                relevant_events=("addtocart", "transaction"),
                candidates="on_sale",
            ),
            real_data_folder="retailrocket",
            feedback_names={"click": "view", "cart": "addtocart", "purchase": "transaction"},
        ),
        DatasetSpec(
            name="amazon",
            title="Amazon product reviews, the editions of 2014, 2018 and 2023 (McAuley Lab)",
            licence="no licence is stated; offered for research by the McAuley Lab, UC San Diego",
            layout="files of one edition, one a category: reviews and, if there, products, *.json(.gz) or *.jsonl(.gz)",
            files=("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz"),
            parser="recommenders.datasets.sources.amazon:parse",
            protocol=Protocol(split="latest_out", repeat=False, relevant_events=("rating",)),
            real_data_folder="amazon-2018-5core",
        ),
    )
}


def datasets(custom: Path | None = None) -> Mapping[str, DatasetSpec]:
    """All data sets by name: the built-in and the custom ones. Raises ConfigurationError if their file is invalid.

    custom: the file of the custom data sets; by default configs/datasets.yaml of the checkout.
    """
    from recommenders.datasets.custom.spec import read_specs

    path = custom or CUSTOM_CONFIG
    return (
        DATASETS if path == CUSTOM_CONFIG and not CUSTOM_CONFIG.exists() else {**DATASETS, **read_specs(path, DATASETS)}
    )


def dataset(name: str, custom: Path | None = None) -> DatasetSpec:
    """The spec of that name. Raises UnknownNameError with the known names, or ConfigurationError like datasets()."""
    if name in DATASETS:  # so that an error in the custom file does not affect them
        return DATASETS[name]
    known = datasets(custom)
    if name not in known:
        raise UnknownNameError("dataset", name, known)
    return known[name]
