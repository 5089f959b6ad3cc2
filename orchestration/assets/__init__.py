"""The Dagster assets, one file per stage of the lineage."""
