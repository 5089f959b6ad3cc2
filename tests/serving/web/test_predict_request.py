"""Validation of requests and its error messages, and conversion of ids."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.repurchase import Repurchase
from serving.champion.pointer import Pointer
from serving.champion.watcher import Champion
from serving.endpoints.list_making import answer_of, answered_items, predict
from serving.lists.predictor import Predictor
from serving.web import validation
from serving.web.predict_request import (
    MAX_BODY_BYTES,
    MAX_HISTORY_LENGTH,
    MAX_ID_LENGTH,
    MAX_SAFE_INTEGER,
    as_sent,
    as_text,
    parse,
    parse_batch,
    unknown_as_sent,
    uses_numeric_ids,
)
from serving.web.validation import InvalidRequestError

USER = f"a string of 1 to 1024 characters or a whole number from 0 to {MAX_SAFE_INTEGER}, send any other id as a string"

CONTEXT = (
    "a name of 1 to 64 letters, digits and _, which begins with no digit -> a string of up to 256 characters, "
    "a number, true or false"
)


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_defaults():
    request = parse(body(user_id=1), "application/json; charset=utf-8")
    assert (request.user_id, request.history, request.n_recommendations) == (1, (), 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (body(), f"user_id: got nothing; allowed: {USER}"),
        (body(user_id=True), f"user_id: got true; allowed: {USER}"),
        (body(user_id=1.0), f"user_id: got 1.0; allowed: {USER}"),
        (body(user_id=None), f"user_id: got null; allowed: {USER}"),
        (body(user_id=-1), f"user_id: got -1; allowed: {USER}"),
        (body(user_id=2**53), f"user_id: got 9007199254740992; allowed: {USER}"),
        (body(user_id=1700000000000435545), f"user_id: got 1700000000000435545; allowed: {USER}"),
        (body(user_id=1, history=["a", 2**53]), f"history[1]: got 9007199254740992; allowed: {USER}"),
        (body(user_id=1, history=[False]), f"history[0]: got false; allowed: {USER}"),
        (body(user_id=1, history=[5.0]), f"history[0]: got 5.0; allowed: {USER}"),
        (body(user_id=1, history=[""]), f"history[0]: got ''; allowed: {USER}"),
        (body(user_id=1, history=None), "history: got null; allowed: a list of up to 1000 item ids"),
        (body(user_id=1, history="5"), "history: got '5'; allowed: a list of up to 1000 item ids"),
        (body(user_id=10**400), f"user_id: got a number of 1329 bits; allowed: {USER}"),
        (body(user_id=""), f"user_id: got ''; allowed: {USER}"),
        (body(user_id="x" * 1025), f"user_id: got '{'x' * 59}...; allowed: {USER}"),
        (
            body(user_id=1, n_recommendations=0),
            "n_recommendations: got 0; allowed: a whole number from 1 to 100",
        ),
        (
            body(user_id=1, n_recommendations="9"),
            "n_recommendations: got '9'; allowed: a whole number from 1 to 100",
        ),
        (
            body(user_id=1, n_recommendations=101),
            "n_recommendations: got 101; allowed: a whole number from 1 to 100",
        ),
        (
            body(user_id=1, k=5),
            "k: got 5; allowed: only the fields user_id, history, n_recommendations, scene, exclude, fields, filters, "
            "explain, context, diversity",
        ),
        (body(user_id=1, context=["app"]), "context: got a list of 1; allowed: an object of up to 20 names -> values"),
        (
            body(user_id=1, context={f"n{n}": n for n in range(21)}),
            "context: got an object; allowed: an object of up to 20 names -> values",
        ),
        (body(user_id=1, context={"user_id": None}), f"context.user_id: got null; allowed: {CONTEXT}"),
        (body(user_id=1, context={"a": {}}), f"context.a: got an object; allowed: {CONTEXT}"),
        (body(user_id=1, context={"a": "x" * 257}), f"context.a: got '{'x' * 59}...; allowed: {CONTEXT}"),
        (body(user_id=1, context={"a": 10**400}), f"context.a: got a number of 1329 bits; allowed: {CONTEXT}"),
        (b'{"user_id": 1, "context": {"a": NaN}}', f"context.a: got nan; allowed: {CONTEXT}"),
        (b'{"user_id": 1, "context": {"a": 1e999}}', f"context.a: got inf; allowed: {CONTEXT}"),
        (body(user_id=1, context={"is-app": 1}), f"context.is-app: got 'is-app'; allowed: {CONTEXT}"),
        (body(user_id=1, diversity=1.5), "diversity: got 1.5; allowed: a number from 0 to 1"),
        (body(user_id=1, diversity=True), "diversity: got true; allowed: a number from 0 to 1"),
        (b'{"user_id": 1, "diversity": NaN}', "diversity: got nan; allowed: a number from 0 to 1"),
        (b"[1]", "body: got a list of 1; allowed: an object with user_id"),
    ],
)
def test_errors_name_the_field_the_value_and_what_is_allowed(content, message):
    with pytest.raises(InvalidRequestError) as error:
        parse(content, "application/json")
    assert (error.value.status, str(error.value)) == (422, message)
    assert error.value.details[0].keys() == {"field", "got", "allowed"}


def test_a_context_has_texts_numbers_and_booleans():
    context = {"channel": "app", "_n": 5, "share": 0.5, "yes": True, "empty": ""}
    found = parse(body(user_id=1, context=context), "application/json").context
    assert found == context
    assert {name: type(value) for name, value in found.items()} == {
        "channel": str,
        "_n": float,
        "share": float,
        "yes": bool,
        "empty": str,
    }


@pytest.mark.parametrize("number", ["10", "10.0", "1e1"])
def test_a_whole_number_may_have_a_fraction_of_zero(number):
    request = parse(b'{"user_id": 1, "n_recommendations": %s}' % number.encode(), "application/json")
    assert (request.n_recommendations, type(request.n_recommendations)) == (10, int)


@pytest.mark.parametrize("number", ["10.5", "0.0", "101.0", "1e400", "NaN", "true", "null"])
def test_a_number_that_is_not_whole_or_out_of_range_is_an_error(number):
    with pytest.raises(InvalidRequestError, match=r"n_recommendations: got .*; allowed: a whole number from 1 to 100"):
        parse(b'{"user_id": 1, "n_recommendations": %s}' % number.encode(), "application/json")


def test_only_as_many_faults_are_described_as_are_shown():
    """A body can have 200,000 wrong values, and no other request is answered while they are described."""
    described: list[int] = []

    def faults() -> Iterator[dict[str, Any]]:
        for number in range(1000):
            described.append(number)
            yield {"loc": ("history", number), "type": "int_type", "input": None}

    details = validation._details(faults(), {"history": "a list", "history[]": "an id"}, ["history"])
    assert [fault["field"] for fault in details] == [f"history[{n}]" for n in range(10)]
    assert len(described) <= 11


def test_errors_in_a_history_name_the_position():
    with pytest.raises(
        InvalidRequestError, match=r"history\[1\]: got null; allowed: .*; history\[2\]: got a list of 0"
    ):
        parse(body(user_id=1, history=[1, None, []]), "application/json")
    with pytest.raises(InvalidRequestError, match="history: got a list of 1001; allowed: a list of up to 1000"):
        parse(body(user_id=1, history=[1] * 1001), "application/json")


@pytest.mark.parametrize("content", [b"", b"{", b"user_id=1", b"\xff", b'{"user_id":"\\ud800"}', b"[" * 9999])
def test_a_body_that_is_not_json_is_an_error(content):
    with pytest.raises(InvalidRequestError, match="body: not JSON") as error:
        parse(content, "application/json")
    assert error.value.status == 400


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_an_error(media_type):
    with pytest.raises(InvalidRequestError, match=r"content-type: got .*; allowed: application/json") as error:
        parse(body(user_id=1), media_type)
    assert error.value.status == 415


@pytest.mark.parametrize(
    ("user_id", "history", "numbers"),
    [(1, [], True), ("1", [], False), ("1", [7], True), (1, ["7"], False), (1, [7, "x"], False)],
)
def test_item_ids_have_the_type_of_the_ids_in_the_history(user_id, history, numbers):
    assert uses_numeric_ids(parse(body(user_id=user_id, history=history), "application/json")) is numbers


@pytest.mark.parametrize("id_", ["SKU-9", "007", "", "٣", "-1", "1.0", str(MAX_SAFE_INTEGER + 1), "9" * 400])
def test_an_id_that_is_not_a_plain_decimal_stays_a_string(id_):
    assert as_sent(id_, numbers=True) == id_


@given(st.integers(0, MAX_SAFE_INTEGER))
def test_numbers_are_returned_as_they_were_sent(number):
    assert as_sent(as_text(number), numbers=True) == number


def test_a_full_history_of_the_longest_ids_fits():
    content = body(user_id="u" * MAX_ID_LENGTH, history=["i" * MAX_ID_LENGTH] * MAX_HISTORY_LENGTH)
    assert len(content) < MAX_BODY_BYTES
    assert len(parse(content, "application/json").history) == MAX_HISTORY_LENGTH


GOOD = {"user_id": 1, "history": [2]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"user_id": 1, "history": [0.5]}, f"requests[3].history[0]: got 0.5; allowed: {USER}"),
        ({"history": []}, f"requests[3].user_id: got nothing; allowed: {USER}"),
        ({"user_id": 1, "explain": True}, "requests[3].explain: got true; allowed: false; ask for reasons with"),
        (
            {"user_id": 1, "k": 5},
            "requests[3].k: got 5; allowed: only the fields user_id, history, n_recommendations, scene, exclude, ",
        ),
        ({"user_id": 1, "context": {"a": []}}, f"requests[3].context.a: got a list of 0; allowed: {CONTEXT}"),
        (7, "requests[3]: got 7; allowed: an object with user_id"),
    ],
)
def test_a_batch_with_a_wrong_request_names_its_number_and_field(wrong, message):
    with pytest.raises(InvalidRequestError) as error:
        parse_batch(body(requests=[GOOD, GOOD, GOOD, wrong, GOOD]), "application/json")
    assert error.value.status == 422
    assert str(error.value).startswith(message)
    assert len(error.value.details) == 1


def test_a_batch_has_1_to_100_requests():
    assert len(parse_batch(body(requests=[GOOD] * 100), "application/json")) == 100
    for requests in ([], [GOOD] * 101):
        with pytest.raises(InvalidRequestError, match=r"requests: got a list of .*; allowed: a list of 1 to 100"):
            parse_batch(body(requests=requests), "application/json")
    with pytest.raises(InvalidRequestError, match="user_id: got 1; allowed: only the fields requests"):
        parse_batch(body(**GOOD), "application/json")


# Ids that other software might read as a number, as another id, as empty or as a path.
IDS = ("7", "007", " 7", "7 ", "5.0", "5", "1700000000000435545", "9007199254740993", "-1", "nan", "null", "True", "٣")
ODD = (
    "a/b",
    "Ü-3",
    "U\u0308-3",
    "日本4",
    "😀",
    "'; drop table--",
    "x" * MAX_ID_LENGTH,
    "line\nend",
    "<b>",
    "%20",
    "..",
)


def test_every_id_is_returned_as_it_was_written(tmp_path):
    """User i bought only item i, so a confusion of two users shows as a different list."""
    ids = IdMap.from_ids((*IDS, *ODD))
    n = len(ids)
    rows, ones = np.arange(n, dtype=np.int32), np.ones(n, dtype=np.float32)
    log = Interactions(ids, ids, rows, rows, np.zeros(n, np.int64), ones, ones, np.ones(n, np.bool_), repeat=True)
    predictor = Predictor(Repurchase().fit(log).save(tmp_path / "bundle"))
    champion = Champion(Pointer("toy", "repurchase", 1, "", "", "", ""), predictor, 0.0)
    for id_ in (*IDS, *ODD):
        for user_id in (as_sent(id_, numbers=True), id_):
            answer = ask(champion, user_id=user_id, n_recommendations=1)
            assert (answer["user_id"], answer["strategy"]) == (user_id, "known_user")
            assert answer["items"][0]["item_id"] == user_id
            assert ask(champion, user_id="?", history=[user_id], n_recommendations=1)["items"] == answer["items"]
    assert ask(champion, user_id="?", history=["x", *IDS, *ODD, 8])["unknown_items"] == ["x", 8]


def ask(champion: Champion, **fields: Any) -> Any:
    request = parse(body(**fields), "application/json")
    prediction = predict(champion.predictor, request, [], 0)
    return answer_of(champion.pointer, request, prediction, answered_items(request, prediction), "", 0.0)


def test_unknown_items_are_returned_once_each_as_they_were_sent():
    history = parse(body(user_id=1, history=[9, "9", 9, "007", 7, " 9"]), "application/json").history
    assert unknown_as_sent(history, {"9", "007", " 9"}) == [9, "9", "007", " 9"]
