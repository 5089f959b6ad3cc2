"""The data sets by name."""

from recommenders.datasets.spec import DatasetSpec, Protocol
from recommenders.errors import UnknownNameError

DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="custom_b2b",
            title="A simulated B2B marketplace: 2,000 buyers, 5,000 products in 7 categories, 25,000 orders",
            licence="made by this project; do with it what you like",
            layout="a folder with buyers.parquet, products.parquet and order_lines.parquet",
            files=("buyers.parquet", "products.parquet", "order_lines.parquet"),
            parser="recommenders.datasets.custom_b2b:read",
            generator="recommenders.datasets.b2b:write_world",
            protocol=Protocol(split="time_cut", test_days=30, candidates="on_sale"),
        ),
        DatasetSpec(
            name="online_retail",
            title="Invoices of a UK wholesaler, December 2010 to December 2011",
            licence="CC BY 4.0; Daqing Chen, Online Retail, UCI Machine Learning Repository, 2015",
            layout="online_retail.csv, online_retail.csv.gz, or daily files *.csv of the same columns",
            files=("*.csv", "*.csv.gz"),
            parser="recommenders.datasets.online_retail:read",
            protocol=Protocol(split="time_cut", test_days=60),
            real_data_folder="online_retail",
        ),
        DatasetSpec(
            name="movielens",
            title="MovieLens ratings (GroupLens)",
            licence="GroupLens terms: research use, redistribution under the same terms, no commercial use",
            layout="a folder in the layout of ml-latest-small: ratings.csv, movies.csv and optionally tags.csv",
            files=("ratings.csv", "movies.csv", "tags.csv"),
            parser="recommenders.datasets.movielens:read",
            protocol=Protocol(split="latest_out", repeat=False, relevant_events=("rating",)),
            real_data_folder="ml-latest-small",
        ),
    )
}


def dataset(name: str) -> DatasetSpec:
    """The spec of that name. Raises UnknownNameError with the names there are."""
    try:
        return DATASETS[name]
    except KeyError:
        raise UnknownNameError("dataset", name, DATASETS) from None
