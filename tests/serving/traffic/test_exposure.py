"""A process that listens on an address that other machines can reach."""

import socket

import pytest

from serving.traffic.exposure import exposed_addresses, warn_if_exposed


@pytest.mark.parametrize(("host", "is_exposed"), [("127.0.0.1", False), ("127.0.0.2", False), ("0.0.0.0", True)])
def test_only_loopback_is_safe(host, is_exposed, caplog):
    before = set(exposed_addresses())
    with socket.create_server((host, 0)) as server:
        expected = {f"{host}:{server.getsockname()[1]}"} if is_exposed else set()
        assert set(exposed_addresses()) - before == expected
        warn_if_exposed()
        assert (f"listens on {host}" in caplog.text) == is_exposed
