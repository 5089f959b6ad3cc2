"""A process that listens on an address that other machines can reach."""

import socket

import pytest

from serving.traffic.reachable_addresses import reachable_addresses, warn_if_reachable


@pytest.mark.parametrize(("host", "is_reachable"), [("127.0.0.1", False), ("127.0.0.2", False), ("0.0.0.0", True)])
def test_only_loopback_is_safe(host, is_reachable, caplog):
    before = set(reachable_addresses())
    with socket.create_server((host, 0)) as server:
        expected = {f"{host}:{server.getsockname()[1]}"} if is_reachable else set()
        assert set(reachable_addresses()) - before == expected
        warn_if_reachable()
        assert (f"listens on {host}" in caplog.text) == is_reachable
