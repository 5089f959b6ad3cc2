"""The jobs: one for all assets, one for the drift report only."""

import dagster as dg

RETRAINING = "retraining_job"
DRIFT = "drift_job"

retraining_job = dg.define_asset_job(
    RETRAINING,
    selection=dg.AssetSelection.all(),
    description="All assets of the data set with their checks, from the source to the champion that serves.",
)

drift_job = dg.define_asset_job(
    DRIFT,
    selection=dg.AssetSelection.assets("drift_report").upstream().required_multi_asset_neighbors(),
    description="Reads the source and compares its newest window with the events before it.",
)
