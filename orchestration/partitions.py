"""One partition a data set, the user's own too: the same graph, materialised for each source on its own."""

import dagster as dg

from recommenders.datasets import catalog

datasets = dg.StaticPartitionsDefinition(list(catalog.datasets()))
