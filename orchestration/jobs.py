"""What runs: everything, or only the look at the newest data."""

import dagster as dg

RETRAINING = "retraining_job"
DRIFT = "drift_job"

retraining_job = dg.define_asset_job(
    RETRAINING,
    selection=dg.AssetSelection.all(),
    description="From the source to a champion that serves: every asset of the data set, with its checks.",
)

drift_job = dg.define_asset_job(
    DRIFT,
    selection=dg.AssetSelection.assets("drift_report").upstream().required_multi_asset_neighbors(),
    description="Reads the source and compares its newest window with what came before.",
)
