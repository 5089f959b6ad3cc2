"""Whether this process can be reached from other machines."""

import ipaddress
import logging

import psutil

log = logging.getLogger(__name__)


def warn_if_reachable() -> None:
    """Logs a warning if this process listens on an address that is not loopback. Call it if no key is needed."""
    if addresses := reachable_addresses():
        log.warning(
            "the service listens on %s and needs no key, so whoever reaches this address can use it; "
            "set TRADEWIND_API_KEYS_FILE, or listen on 127.0.0.1",
            ", ".join(addresses),
        )


def reachable_addresses() -> list[str]:
    """The addresses on which this process listens, without loopback, as host:port."""
    listening = [
        connection.laddr
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    ]
    return [f"{host}:{port}" for host, port in listening if not ipaddress.ip_address(host).is_loopback]
