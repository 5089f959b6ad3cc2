"""The asset of the release candidate."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from orchestration.assets.json_outputs import ReleaseCandidate
from orchestration.assets.release import release_candidate
from orchestration.io_manager import Lake, form_of
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.evaluation.report import Report
from recommenders.storage.schema import INTERACTIONS, ITEMS
from recommenders.training.selection import CANDIDATES, CandidateChoice

DATASET, N_USERS = "custom_b2b", 50


def report(ndcg: dict[str, float]) -> Report:
    """An evaluation in which each user has the same NDCG@10 by a model."""
    per_user = {"model": np.repeat(list(ndcg), N_USERS), "ndcg@10": np.repeat(list(ndcg.values()), N_USERS)}
    others = {
        "views": {},
        "ceilings": {},
        "undefined": {},
        "milliseconds": {},
        "megabytes": {},
        "per_user": pa.table(per_user),
    }
    return Report(DATASET, "time cut", "2026-01-01", N_USERS, 0, 0, {name: {} for name in ndcg}, **others)


@pytest.mark.parametrize("chosen", CANDIDATES)
def test_the_candidate_is_the_choice_on_the_validation_window(
    chosen: str, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    """Not the model that is better on the test window. The choice is an earlier one that is still valid."""
    settings = make_settings(tmp_path, dataset=DATASET)
    datasets, training, lake = Datasets(settings), settings.training, Lake(root=str(settings.lake))
    (other,) = set(CANDIDATES) - {chosen}
    protocol = datasets[DATASET].spec.protocol.describe()
    choice = CandidateChoice(chosen, "best", training.recipe(), protocol, 0, {chosen: 0.3, other: 0.2}, N_USERS)
    kept = ReleaseCandidate(chosen, False, choice)
    form_of(ReleaseCandidate).save(kept, lake.path(DATASET, "release_candidate", ReleaseCandidate))
    context = dg.build_asset_context(partition_key=DATASET)
    found = release_candidate(
        context,
        lake=lake,
        datasets=datasets,
        training=training,
        registry=SimpleNamespace(reconcile=lambda _: [], champion=lambda _: SimpleNamespace(recipe="another")),
        interactions=INTERACTIONS.empty_table(),
        items=ITEMS.empty_table(),
        evaluation_report=report({"popularity": 0.1, chosen: 0.2, other: 0.4}),
    )
    assert found == kept
    assert context.get_output_metadata("result")["candidate"] == chosen
