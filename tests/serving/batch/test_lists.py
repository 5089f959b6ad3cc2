"""Batch lists are the answers of POST /predict: the same items, scores, rules and fields."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from recommenders.errors import ConfigurationError, DataError, ReleaseError
from recommenders.storage.atomic_files import sha256
from serving.batch.lists import BatchSummary, write_lists
from serving.batch.options import BatchOptions, parse_request
from serving.batch.source import open_source
from serving.batch.users import known_users
from serving.endpoints import list_making
from serving.feedback.store import FeedbackStore
from serving.steering.catalogue.files import record_file
from serving.steering.rules.files import rules_folder

OPTIONS = {
    "plain": BatchOptions(),
    "few": BatchOptions(n=3, fields=("title", "price", "stocked")),
    "filtered": BatchOptions(n=20, filters={"category": "Tools", "price": {"max": 30}}),
    "discover": BatchOptions("discover", fields=("brand",)),
    "reorder": BatchOptions("reorder", filters={"brand": {"not": ["A", "B"]}}),
}
OTHERS = (  # users with a history of their own: unknown, known with newest events, unknown with them
    {"user_id": "nobody's"},
    {"user_id": "other", "history": ["i01", "i02", "lost"]},
    {"user_id": "u05", "history": ["i11"]},
    {"user_id": "new", "history": [17]},
)
USERS = [f"u{n:02}" for n in range(60)]


def written(shop: Any, options: BatchOptions, bodies: Any, with_rules: bool = True) -> tuple[Any, BatchSummary]:
    """Rows by user, and the summary."""
    source = open_source(shop.settings, shop.settings.pointer, with_rules)
    assert not source.problems
    requests = [parse_request({**options.body(), **body}) for body in bodies]
    output = shop.settings.home / "lists.parquet"
    summary = write_lists(source, options, requests, output)
    found: dict[str, list[Any]] = {}
    for row in pq.read_table(output).to_pylist():
        found.setdefault(row["user_id"], []).append(row)
    return found, summary


def rows_of(user_id: str, answer: dict[str, Any], fields: Any) -> list[dict[str, Any]]:
    """The rows that a file of lists has for an answer of the service."""
    return [
        {
            "user_id": user_id,
            "rank": item["rank"],
            "item_id": item["item_id"],
            "score": item["score"],
            "strategy": answer["strategy"],
            "rules": item.get("rules", []),
            **{name: item["fields"][name] for name in fields},
        }
        for item in answer["items"]
    ]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("rules", ["rules", "rules: []"])
def test_each_list_is_the_answer_of_the_service(shop: Any, options: BatchOptions, rules: str) -> None:
    if rules == "rules: []":
        shop.rules(rules)
    bodies = [*({"user_id": user_id} for user_id in USERS if user_id != "u05"), *OTHERS]
    found, summary = written(shop, options, bodies)
    answers = shop.answers([{**options.body(), **body} for body in bodies])
    expected = {
        body["user_id"]: rows_of(body["user_id"], answer, options.fields)
        for body, answer in zip(bodies, answers, strict=True)
        if answer["items"]
    }
    assert found == expected
    assert (summary.users, summary.lists, summary.unknown_items) == (len(bodies), len(expected), 2)
    assert summary.rows == sum(map(len, expected.values()))
    assert sum(summary.strategies.values()) == len(expected)
    assert bool(summary.rules) == (rules == "rules")
    if rules == "rules" and options.scene == "for_you":
        assert summary.rules["in-stock"]["lists"] == len(bodies)
        assert {name for rows in found.values() for row in rows for name in row["rules"]} >= (
            {"own"} if options.filters else {"third", "own"}
        )


@pytest.mark.parametrize("stored", [True, False], ids=["precomputed", "live"])
def test_the_lists_of_a_ranker_are_the_answers_too(make_shop: Any, stored: bool) -> None:
    shop = make_shop("hybrid_learned", stored)
    for options in (OPTIONS["plain"], OPTIONS["filtered"]):
        found, _ = written(shop, options, [{"user_id": user_id} for user_id in USERS[:20]])
        for user_id, answer in zip(
            USERS, shop.answers([{**options.body(), "user_id": user_id} for user_id in USERS[:20]]), strict=False
        ):
            assert found.get(user_id, []) == rows_of(user_id, answer, ()), user_id


def test_the_basket_is_the_history(shop: Any) -> None:
    options = BatchOptions("basket")
    bodies = [{"user_id": "u03", "history": ["i01"]}, {"user_id": "u04", "history": ["i30", "i31"]}]
    found, _ = written(shop, options, bodies)
    answers = shop.answers([{**options.body(), **body} for body in bodies])
    assert found == {one["user_id"]: rows_of(one["user_id"], one, ()) for one in answers}
    assert found["u03"][0]["item_id"] != found["u04"][0]["item_id"]


def test_all_lists_are_of_one_moment(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the end of a sale its items are gone, in the service and in a batch of that moment."""
    later = 4_000_000_000_000_000
    source = open_source(shop.settings, shop.settings.pointer)
    shop.rules("rules: []")
    source = replace(open_source(shop.settings, shop.settings.pointer), clock=later)
    monkeypatch.setattr(list_making, "now_us", lambda: later)
    options, output = BatchOptions(n=45), shop.settings.home / "lists.parquet"
    summary = write_lists(source, options, known_users(source.champion.predictor.model, options), output)
    rows = pq.read_table(output).to_pylist()
    assert {row["item_id"] for row in rows} == {f"i{n:02}" for n in range(4, 45)}
    answers = shop.answers([{**options.body(), "user_id": user_id} for user_id in USERS])
    assert rows == [row for one in answers for row in rows_of(one["user_id"], one, ())]
    assert summary.moment == "2096-10-02T07:06:40.000000Z"


def test_without_rules_no_rule_counts(shop: Any) -> None:
    found, summary = written(shop, BatchOptions(), [{"user_id": "u00"}], with_rules=False)
    assert (summary.rules, summary.rules_version, summary.with_rules) == ({}, "", False)
    shop.rules("rules: []")
    (answer,) = shop.answers([{"user_id": "u00"}])
    assert found["u00"] == rows_of("u00", answer, ())


def test_an_erased_user_gets_the_list_of_a_cold_start_user(shop: Any) -> None:
    store = FeedbackStore(shop.settings.feedback_store, "toy")
    store.erase("u00")
    store.close()
    found, _ = written(shop, BatchOptions(), [{"user_id": "u00"}])
    (answer,) = shop.answers([{"user_id": "u00"}])
    assert answer["strategy"] == "popularity"
    assert found["u00"] == rows_of("u00", answer, ())


def test_a_batch_leaves_no_trace_in_the_state_of_the_service(shop: Any) -> None:
    """Another file of rules must not become the rules that served last; and no store is made."""
    written(shop, BatchOptions(), [{"user_id": "u00"}])
    assert not rules_folder(shop.settings.pointer).exists()
    empty = shop.settings.model_copy(update={"feedback_url": f"sqlite:///{shop.settings.home}/none/events.db"})
    source = open_source(empty, empty.pointer)
    assert (source.recent_items("u03"), source.problems) == ([], ())
    assert not (shop.settings.home / "none").exists()


def test_what_the_lists_were_made_from_is_in_the_file(shop: Any) -> None:
    options = OPTIONS["filtered"]
    _, summary = written(shop, options, [{"user_id": "u00"}])
    stored = json.loads(pq.read_schema(summary.file).metadata[b"tradewind"])
    assert stored.items() <= json.loads(json.dumps(asdict(summary))).items()
    assert (stored["model"], stored["version"], stored["n"]) == ("collaborative_filtering", 1, 20)
    assert stored["filters"] == {"category": "Tools", "price": {"max": 30}}
    assert [len(stored[name]) for name in ("rules_version", "catalogue_version")] == [64, 64]


def test_a_csv_file_has_the_rows_of_the_parquet_file_and_a_note(shop: Any, tmp_path: Path) -> None:
    options = OPTIONS["few"]
    source = open_source(shop.settings, shop.settings.pointer)
    model = source.champion.predictor.model
    as_csv, as_parquet = tmp_path / "lists.csv", tmp_path / "lists.parquet"
    summary = write_lists(source, options, known_users(model, options), as_csv, "csv")
    write_lists(source, options, known_users(model, options), as_parquet)
    rows = pa_csv.read_csv(
        as_csv, convert_options=pa_csv.ConvertOptions(strings_can_be_null=True, column_types={"user_id": "string"})
    )
    expected = [{**row, "rules": " ".join(row["rules"]) or None} for row in pq.read_table(as_parquet).to_pylist()]
    assert rows.to_pylist() == expected
    note = json.loads((tmp_path / "lists.csv.json").read_text())
    assert note.pop("sha256") == sha256(as_csv)
    assert note.items() <= json.loads(json.dumps(asdict(summary))).items()


def test_rows_are_written_in_groups(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.batch.files.GROUP", 64)
    found, summary = written(shop, BatchOptions(n=10), [{"user_id": user_id} for user_id in USERS])
    with pq.ParquetFile(summary.file) as file:
        sizes = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert sum(sizes) == summary.rows == sum(map(len, found.values()))
    assert len(sizes) > 3
    assert max(sizes) < 64 + 10


@pytest.mark.parametrize("format_", ["parquet", "csv"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_a_batch_that_is_stopped_leaves_the_earlier_file(
    shop: Any, tmp_path: Path, format_: Any, error: type[BaseException]
) -> None:
    source = open_source(shop.settings, shop.settings.pointer)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "lists").write_text("earlier")

    def requests() -> Any:
        yield from (BatchOptions().request() for _ in range(5))
        raise error

    with pytest.raises(error):
        write_lists(source, BatchOptions(), requests(), folder / "lists", format_)
    assert [path.name for path in folder.iterdir()] == ["lists"]
    assert (folder / "lists").read_text() == "earlier"


def test_a_model_without_a_calibration_has_no_scores(shop: Any) -> None:
    source = open_source(shop.settings, shop.settings.pointer, with_rules=False)
    source.champion.predictor.precomputed, source.champion.predictor.model.calibration_ = None, None
    output = shop.settings.home / "lists.parquet"
    write_lists(source, BatchOptions(), [parse_request({"user_id": "u01"})], output)
    assert pq.read_table(output)["score"].to_pylist() == [None] * 10


def test_options_that_the_catalogue_does_not_fit_are_refused(shop: Any) -> None:
    source = open_source(shop.settings, shop.settings.pointer)
    output = shop.settings.home / "lists.parquet"
    for options, message in (
        (BatchOptions(fields=("colour",)), r"batch fields\[0\]: got 'colour'; allowed: "),
        (BatchOptions(filters={"price": "cheap"}), r"batch filters\.price: got 'cheap'; allowed: a number"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            write_lists(source, options, [], output)
    record_file(shop.settings.pointer).unlink()
    shop.rules("rules: []")
    source = open_source(shop.settings, shop.settings.pointer)
    with pytest.raises(DataError, match=r"toy has no served catalogue; .* materialise the asset served_catalogue"):
        write_lists(source, BatchOptions(fields=("price",)), [], output)
    assert not output.exists()


def test_problems_of_the_source_are_stated(shop: Any) -> None:
    """The lists are made all the same, as the service does; who asked for them decides."""
    settings = shop.settings
    shop.rules("rules: [{name: bad, action: exclude, items: 'item.colour == \"red\"'}]")
    (settings.home / "feedback" / "events.db").write_text("no database")
    source = open_source(settings, settings.pointer)
    assert ["rule bad items: " in one or "file is not a database" in one for one in source.problems] == [True, True]
    assert source.recent_items("u03") == []
    settings.pointer.unlink()
    with pytest.raises(ReleaseError, match=r"no champion yet: .* train and promote a version"):
        open_source(settings, settings.pointer)
