"""The tags of a version: what is written is read with its type."""

import json
from datetime import UTC, datetime

import pytest

from serving.release.gate import GateCheck
from serving.release.versions import (
    Version,
    bundle_tags,
    promoted_tags,
    record_tags,
    rolled_back_tags,
    training_tags,
)

AT = datetime(2026, 3, 15, 8, tzinfo=UTC)
CHECKS = [GateCheck(True, "all scores are finite"), GateCheck(False, "too slow")]


def version(tags: dict[str, str]) -> Version:
    return Version("toy", 1, "run", "hybrid", (), AT, tags)


def test_what_training_stores_is_read() -> None:
    provenance = {"recipe": "r1", "data_version": "d1", "protocol": "time cut", "run_id": "x", "epochs": 3}
    provenance |= {"trained_until": "2026-03-10T23:59:59.000001"}  # as the log has it: UTC, without a zone
    refit = {"figures": {}, "findings": [vars(check) for check in CHECKS]}
    tags = training_tags(provenance, '{"seed": 1}', {"ndcg@10": [0.3, 0.2, 0.4]}, refit)
    assert all(isinstance(value, str) for value in tags.values())
    assert "run_id" not in tags
    assert (tags["epochs"], json.loads(tags["configuration"])) == ("3", {"seed": 1})
    found = version(tags)
    assert (found.recipe, found.data_version, found.protocol) == ("r1", "d1", "time cut")
    assert found.trained_until == datetime(2026, 3, 10, 23, 59, 59, 1, tzinfo=UTC)
    assert found.evaluation == {"ndcg@10": [0.3, 0.2, 0.4]}
    assert found.refit_checks == CHECKS


def test_what_a_release_stores_is_read() -> None:
    record = {"promote": False, "reasons": ["worse"], "pinned": True}
    tags = {**bundle_tags("hybrid", "abc", "bundles/abc"), **record_tags(record), **promoted_tags(AT)}
    found = version(tags | rolled_back_tags(AT))
    assert (found.bundle_sha256, found.bundle_path, found.gate_record) == ("abc", "bundles/abc", record)
    assert (found.promoted_at, found.rolled_back_at) == (AT, AT)
    assert tags["promoted_at"] == "2026-03-15T08:00:00+00:00"
    assert version(tags | rolled_back_tags(None)).rolled_back_at is None
    assert "bundle_path" not in bundle_tags("hybrid", "abc")


@pytest.mark.parametrize("name", ["recipe", "data_version", "protocol", "bundle_sha256", "bundle_path"])
def test_a_text_that_is_missing_is_empty(name: str) -> None:
    assert getattr(version({}), name) == ""


def test_a_version_of_another_program_has_no_record() -> None:
    found = version({})
    assert (found.gate_record, found.promoted_at, found.rolled_back_at, found.trained_until) == (None,) * 4
    assert (found.evaluation, found.refit_checks) == ({}, [])
