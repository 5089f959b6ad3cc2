"""Each check finds the errors that it is made for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from monitoring.drift.report import DriftReport, Window
from orchestration import checks
from orchestration.assets.metadata import APPLICABLE
from recommenders.datasets.reading.ingest import Counts
from recommenders.datasets.spec import Protocol
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.splitting.temporal import split
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)


def log(n_events: int, days: int = 90) -> pa.Table:
    """Events at equal intervals over the days."""
    rng = np.random.default_rng(0)
    times = [START + timedelta(days=days * i / n_events) for i in range(n_events)]
    table = pa.table(
        {
            "user_id": [str(u) for u in rng.integers(0, 20, n_events)],
            "item_id": [str(i) for i in rng.integers(0, 30, n_events)],
            "timestamp": pa.array(times, schema.TIME),
            "event": ["purchase"] * n_events,
            "weight": pa.array([1.0] * n_events, pa.float32()),
        }
    )
    return schema.conform(table, schema.INTERACTIONS, "interactions")


def test_schema_check_finds_a_null_a_missing_column_and_another_type(tmp_path: Path) -> None:
    def schema_mismatches(table: pa.Table) -> list[str]:
        pq.write_table(table, tmp_path / "part.parquet")
        return checks.schema_mismatches([tmp_path / "part.parquet"], schema.INTERACTIONS)

    events = log(10).cast(pa.schema([field.with_nullable(True) for field in schema.INTERACTIONS]))
    assert schema_mismatches(events) == []
    assert schema_mismatches(events.drop_columns(["rating"])) == []
    assert schema_mismatches(events.drop_columns(["event"])) == ["event is missing"]
    place = events.column_names.index("item_id")
    assert schema_mismatches(events.set_column(place, "item_id", pa.array([None] * 3 + ["a"] * 7))) == [
        "item_id holds 3 nulls"
    ]
    assert schema_mismatches(events.set_column(place, "item_id", pa.array(range(10)))) == [
        "item_id is int64, not string"
    ]


def test_volume_check_needs_enough_rows_and_few_quarantined_ones() -> None:
    assert checks.volume(Counts(2000, 2000), 0.05).passed
    assert checks.volume(Counts(2100, 2000, quarantined=100), 0.05).passed
    assert not checks.volume(Counts(10, 10), 0.05).passed
    assert not checks.volume(Counts(2500, 2000, quarantined=500), 0.05).passed
    assert checks.volume(Counts(2500, 2000, quarantined=500), 0.25).passed
    stop = checks.volume(Counts(2500, 2000, quarantined=500), 0.05)
    assert stop.description == "500 of 2,500 rows (20.0%) are quarantined; at most 5.0% may be (max_quarantined)"


TIME_CUT, LATEST_OUT = Protocol(split="time_cut", test_days=20), Protocol(split="latest_out", repeat=False)


def training_log(events: pa.Table) -> Interactions:
    return Interactions.from_table(events, IdMap.from_ids(events["item_id"].to_pylist()))


@pytest.mark.parametrize("protocol", [TIME_CUT, LATEST_OUT])
def test_held_out_events_in_the_training_log_are_found_even_if_other_events_are_missing(protocol: Protocol) -> None:
    """Counts are not enough: a log may hold every held-out event and still be shorter than the allowed one."""
    parts = split(log(2000), protocol)
    before, held_out = (parts.filter(keep(parts["part"], "test")) for keep in (pc.not_equal, pc.equal))
    assert checks.leaks(training_log(before), parts, protocol) == []
    assert checks.leaks(training_log(before.slice(100)), parts, protocol) == []
    swapped = pa.concat_tables([held_out, before.slice(held_out.num_rows)])
    (leak,) = checks.leaks(training_log(swapped), parts, protocol)
    assert leak.startswith(f"{held_out.num_rows} events of the training log do not lie before the test window")
    one = pa.concat_tables([held_out.slice(0, 1), before.slice(1)])
    (leak,) = checks.leaks(training_log(one), parts, protocol)
    assert f"item {held_out['item_id'][0]} of user {held_out['user_id'][0]}" in leak


def test_an_event_that_is_in_the_training_log_twice_is_found() -> None:
    parts = split(log(2000), TIME_CUT)
    before = parts.filter(pc.not_equal(parts["part"], "test"))
    (leak,) = checks.leaks(training_log(pa.concat_tables([before, before.slice(0, 1)])), parts, TIME_CUT)
    assert leak.startswith("1 events")


@pytest.mark.parametrize("protocol", [TIME_CUT, LATEST_OUT])
def test_wrong_labels_of_a_split_are_found(protocol: Protocol) -> None:
    parts = split(log(2000), protocol)
    late = pc.equal(pc.rank(parts["timestamp"], sort_keys="descending", tiebreaker="first"), 1)
    early = pc.equal(pc.rank(parts["timestamp"], sort_keys="ascending", tiebreaker="first"), 1)
    labels = pc.if_else(late, "train", pc.if_else(early, "test", parts["part"]))  # the first and the last event swapped
    mislabelled = parts.set_column(parts.schema.get_field_index("part"), "part", labels)
    training = training_log(mislabelled.filter(pc.not_equal(mislabelled["part"], "test")))
    leak, label = checks.leaks(training, mislabelled, protocol)
    assert leak.startswith("1 events of the training log")
    assert label == "1 events with the label test lie before the test window"


class TestMembersBeatPopularity:
    """The check warns about each model that does not; it does not apply to popularity alone."""

    def test_all_above(self) -> None:
        found = checks.models_check({"popularity": 0.2, "hybrid": 0.3, "content_based": 0.21})
        assert found.passed

    @pytest.mark.parametrize("score", [0.1, 0.2])
    def test_a_model_that_is_not_above_fails_and_is_named(self, score: float) -> None:
        found = checks.models_check({"popularity": 0.2, "hybrid": 0.3, "content_based": score})
        assert (found.passed, found.description) == (False, "not above popularity: content_based")

    def test_an_undefined_mean_is_not_zero_and_does_not_pass(self) -> None:
        found = checks.models_check({"popularity": 0.2, "hybrid": None})
        assert (found.passed, found.description) == (False, "undefined: hybrid")
        assert "hybrid" not in found.metadata
        assert not checks.models_check({"popularity": None, "hybrid": 0.1}).passed

    def test_not_applicable_to_popularity_alone(self) -> None:
        found = checks.models_check({"popularity": 0.2})
        assert (found.description or "").startswith("not applicable: ")
        assert found.metadata[APPLICABLE].value is False


class TestReleaseCandidateBeatsPopularity:
    GOOD, POOR = np.full(50, 0.4), np.full(50, 0.2)

    def test_candidate_above_and_below_popularity(self) -> None:
        assert checks.candidate_check({"hybrid": self.GOOD, "popularity": self.POOR}, "hybrid").passed
        assert not checks.candidate_check({"hybrid": self.POOR, "popularity": self.GOOD}, "hybrid").passed
        assert not checks.candidate_check({"hybrid": self.GOOD, "popularity": self.GOOD}, "hybrid").passed

    def test_a_gain_within_the_interval_does_not_pass(self) -> None:
        noise = np.random.default_rng(1).normal(0, 0.3, 50)
        noisy = self.GOOD + noise + 0.01 - noise.mean()
        assert not checks.candidate_check({"hybrid": noisy, "popularity": self.GOOD}, "hybrid").passed

    def test_an_undefined_difference_is_reported_and_does_not_pass(self) -> None:
        found = checks.candidate_check({"hybrid": np.full(50, np.nan), "popularity": self.GOOD}, "hybrid")
        assert not found.passed
        assert (found.description or "").startswith("undefined: 0 users")

    def test_not_applicable_to_popularity_itself(self) -> None:
        found = checks.candidate_check({"popularity": self.GOOD}, "popularity")
        assert found.passed
        assert (found.description or "").startswith("not applicable: ")
        assert found.metadata[APPLICABLE].value is False

    def test_two_users_have_an_interval_and_undefined_values_are_not_in_the_metadata(self) -> None:
        two = {"hybrid": np.array([0.4, 0.5, np.nan]), "popularity": np.array([0.2, 0.3, 0.1])}
        found = checks.candidate_check(two, "hybrid")
        assert (found.description or "").startswith("NDCG@10 of hybrid minus popularity: 0.2000")
        assert {"candidate", "difference", "low", "high"} == set(found.metadata)
        none = checks.candidate_check({"hybrid": np.full(3, np.nan), "popularity": np.full(3, 0.1)}, "hybrid")
        assert set(none.metadata) == {"candidate"}


class TestChecksAsDagsterCallsThem:
    """The checks on tables of the lake and on reports, as Dagster calls them."""

    CONTEXT: Any = SimpleNamespace(partition_key="toy")

    def lake(self, **files: Path) -> Any:
        """The data set `toy` with these files as tables."""
        version = SimpleNamespace(counts=Counts(2500, 2000, quarantined=500))
        tables = SimpleNamespace(files=lambda name, _version=None: [files[name]], current=lambda: version)
        spec = SimpleNamespace(max_quarantined=0.25, protocol=TIME_CUT)
        return {"toy": SimpleNamespace(tables=tables, spec=spec)}

    def test_interactions_schema(self, tmp_path: Path) -> None:
        found = []
        for place, table in enumerate((log(10), log(10).drop_columns(["event"]))):
            pq.write_table(table, path := tmp_path / f"{place}.parquet")
            found.append(checks.interactions_schema(self.CONTEXT, self.lake(interactions=path)))
        assert [one.passed for one in found] == [True, False]
        assert [one.description for one in found] == ["columns and types are those of the schema", "event is missing"]

    def test_interactions_volume(self, tmp_path: Path) -> None:
        found = checks.interactions_volume(self.CONTEXT, self.lake(quarantine=tmp_path / "none.parquet"))
        assert found.passed
        assert found.description == ("2,000 interactions (at least 1,000), 20.0% of rows quarantined (at most 25.0%)")
        assert found.metadata["share quarantined"].value == 0.2
        assert checks.volume(Counts(1, 0, quarantined=1), 0.05).metadata["share quarantined"].value == 1.0
        assert checks.volume(Counts(0, 0), 0.05).metadata["share quarantined"].value == 0.0

    def test_no_temporal_leakage(self, tmp_path: Path) -> None:
        parts = split(log(2000), TIME_CUT)
        clean = training_log(parts.filter(pc.not_equal(parts["part"], "test")))
        found = [
            checks.no_temporal_leakage(self.CONTEXT, self.lake(), training, parts)
            for training in (clean, training_log(parts))
        ]
        assert [one.passed for one in found] == [True, False]
        assert found[0].description == "the training log has no event after the cut"
        assert "events of the training log do not lie before" in (found[1].description or "")
        assert found[0].metadata["events"].value == len(clean)

    def test_members_beat_popularity_by_their_means(self) -> None:
        models = {"popularity": {"ndcg@10": (0.1, 0.15, 0.5)}, "hybrid": {"ndcg@10": (0.2, 0.05, 0.3)}}
        assert checks.members_beat_popularity(SimpleNamespace(models=models)).passed  # type: ignore[arg-type]

    @pytest.mark.parametrize("fired", [True, False])
    def test_no_drift(self, fired: bool) -> None:
        report = DriftReport(fired, True, (), Window(None, None, 0), Window(None, None, 0), (), "prices moved")
        found = checks.no_drift(report)
        assert (found.passed, found.description, found.severity) == (not fired, "prices moved", checks.WARN)


def test_latest_out_leaves_all_but_the_latest_event_of_users_with_two_events() -> None:
    events = log(6)
    users = pa.array(["a", "b", "b", "c", "c", "c"])
    parts = events.set_column(events.column_names.index("user_id"), "user_id", users)
    assert checks.before_test(parts, LATEST_OUT).to_pylist() == [True, True, False, True, True, False]
