"""One partition a data set: the same graph, materialised for each source on its own."""

import dagster as dg

from recommenders.datasets.catalog import DATASETS

datasets = dg.StaticPartitionsDefinition(list(DATASETS))
