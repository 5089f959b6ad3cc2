"""The example request of `tradewind run`: a known user, with the id as written in the data."""

import shlex
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.launcher import platform_state
from orchestration.launcher.runs import RunFailedError
from orchestration.settings import Settings
from serving.web.predict_request import MAX_ID_LENGTH, as_text, parse

ORDINARY = {"1": 1, str(2**53 - 1): 2**53 - 1}  # id in the data -> id in the request
AS_WRITTEN = ("000055", "007", str(2**53), "1700000000000435545", "-1", "5.0", "nan", "٣", "O'Neil & Söhne", "[/b]:a:")


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(tmp_path)


def lists_for(settings: Settings, *user_ids: str) -> None:
    path = platform_state.lists_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": pa.array(user_ids, pa.string())}), path)


@pytest.mark.parametrize(("user_id", "requested"), [*ORDINARY.items(), *((id_, id_) for id_ in AS_WRITTEN)])
def test_the_example_has_the_user_id_of_the_data(settings: Settings, user_id: str, requested: str | int) -> None:
    lists_for(settings, user_id, "another")
    request = platform_state.example_request(settings)
    assert (request["user_id"], type(request["user_id"])) == (requested, type(requested))
    body = shlex.split(platform_state.curl_line(settings))[-1]  # the argument that a shell gives to curl
    assert as_text(parse(body.encode(), "application/json").user_id) == user_id


def test_a_user_id_that_the_service_refuses_is_not_an_example(settings: Settings) -> None:
    lists_for(settings, "x" * (MAX_ID_LENGTH + 1), "short")
    assert platform_state.example_request(settings)["user_id"] == "short"
    lists_for(settings)
    with pytest.raises(RunFailedError, match=r"no list to show: .* see the items' available_from and"):
        platform_state.example_request(settings)


class Refusing(BaseHTTPRequestHandler):
    """Answers 422 to every request, as the service does to an invalid request."""

    n_requests = 0
    authorization = ""

    def do_POST(self) -> None:
        Refusing.n_requests += 1
        Refusing.authorization = self.headers["authorization"]
        self.send_response(422)
        self.end_headers()
        self.wfile.write(b'{"error": "user_id: no"}')

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def refusing() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_refused_request_is_an_error_and_its_time_is_not_measured(
    tmp_path: Path, make_settings: Callable[..., Settings], refusing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_API_KEY", "tw_of-the-command")
    settings = make_settings(tmp_path, service_port=refusing)
    lists_for(settings, "000055")
    with pytest.raises(RunFailedError, match=r'/predict answered 422 to \{"user_id": "000055".*user_id: no'):
        platform_state.smoke_test(settings)
    assert Refusing.n_requests == 1
    assert Refusing.authorization == "Bearer tw_of-the-command"
    assert "Authorization" not in platform_state.curl_line(settings)
    with_keys = settings.model_copy(update={"api_keys_file": tmp_path / "keys.yaml"})
    assert '-H "Authorization: Bearer $TRADEWIND_API_KEY"' in platform_state.curl_line(with_keys)
