"""Answers that are no figures. The query itself is tested on the running platform (test_platform.py)."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from dagster import DagsterRunStatus

from orchestration.launcher.dagster_figures import STATUSES, DagsterFigures, DagsterFiguresError


def test_the_statuses_are_those_of_dagster() -> None:
    assert {status.value for status in DagsterRunStatus} == set(STATUSES)


@pytest.fixture
def refusing(free_port: int) -> Iterator[str]:
    """The URL of a server that answers every query with an error."""

    class Refusal(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["content-length"])))["query"]
            found = {"errors": [{"message": f"no such field in {query[:1]}"}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", free_port), Refusal) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{free_port}"
        thread.join()


def test_a_query_that_dagster_refuses_is_an_error_with_its_reason(refusing: str) -> None:
    with pytest.raises(DagsterFiguresError, match=r"/graphql refused the query: no such field in \{"):
        list(DagsterFigures(refusing)())


def test_a_dagster_that_does_not_run_is_an_error(free_port: int) -> None:
    with pytest.raises(OSError, match="refused"):
        list(DagsterFigures(f"http://127.0.0.1:{free_port}")())
