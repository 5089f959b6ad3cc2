"""`tradewind alerts`: what went wrong, what was sent, and whether the channels work."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.cli.options import AsJson, echo
from recommenders.errors import TradewindError

if TYPE_CHECKING:
    from monitoring.alerts.dispatcher import AlertDispatcher
    from monitoring.alerts.listing import ChannelState, OpenIncident, StoredAlert

app = typer.Typer(help="Alerts: list, test the channels, send what is due, end an incident.", no_args_is_help=True)

N = Annotated[int, typer.Option("-n", "--number", min=1, help="Number of alerts.")]


@app.command("list")
def alerts_list(
    number: N = 20,
    repetitions: Annotated[bool, typer.Option(help="Also alerts that were only counted.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the open incidents, the state of each channel, and the newest alerts."""
    from monitoring.alerts.configuration import AlertConfig
    from monitoring.alerts.listing import channel_states, open_incidents, recent_alerts

    alerts = _alerts()
    names = list(AlertConfig.load(alerts.config_file).minimums())
    incidents, channels = open_incidents(alerts.outbox), channel_states(alerts.outbox, names)
    recent = recent_alerts(alerts.outbox, number, repetitions)
    if as_json:
        parts: dict[str, list[Any]] = {"incidents": incidents, "channels": channels, "alerts": recent}
        print(json.dumps({name: [asdict(one) for one in found] for name, found in parts.items()}, default=str))
        return
    for incident in incidents:
        print(_incident_line(incident))
    for channel in channels:
        print(_channel_line(channel))
    for alert in recent:
        print(_alert_line(alert))


@app.command("test")
def alerts_test(
    channel: Annotated[str | None, typer.Option(help="Name of a channel.", show_default="all channels")] = None,
) -> None:
    """Send a test message to each channel now. Exit code 1: a channel did not accept it."""
    alerts = _alerts()
    results = alerts.test(channel)
    for result in results:
        print(f"{result.channel:<12} {result.problem or f'accepted by {result.address}'}")
    if not results:
        echo(f"{alerts.config_file} has no channels: alerts are in `tradewind alerts list` and in {alerts.log_file}.")
    if any(result.problem for result in results):
        raise typer.Exit(1)


@app.command("deliver")
def alerts_deliver(
    failed: Annotated[bool, typer.Option("--failed", help="Also messages whose attempts are used up.")] = False,
) -> None:
    """Send the alerts that are due. Dagster's sensor `alerts` does the same while the platform runs."""
    alerts = _alerts()
    if failed:
        echo(f"{alerts.outbox.retry_failed(alerts.clock())} failed messages are tried again.")
    done = alerts.deliver()
    print(f"{done.sent} messages sent, {done.failed} not accepted")


@app.command("resolve")
def alerts_resolve(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of an open incident (`tradewind alerts list`).")],
) -> None:
    """End an open incident by hand: the next alert of its cause is a new one."""
    from monitoring.alerts.listing import open_incidents

    alerts = _alerts()
    if not alerts.outbox.recover(key, alerts.clock()):
        keys = ", ".join(incident.key for incident in open_incidents(alerts.outbox)) or "none is open"
        raise TradewindError(f"alerts resolve: got {key!r}; allowed: the key of an open incident: {keys}")
    alerts.deliver()
    echo(f"Ended {key}.")


def _alerts() -> "AlertDispatcher":
    from orchestration.settings import Settings

    return Settings.read().alerts


def _incident_line(incident: "OpenIncident") -> str:
    since, last = (f"{at:%Y-%m-%d %H:%M}" for at in (incident.opened_at, incident.last_at))
    times = f"since {since} UTC, {incident.n_alerts} alerts, last {last}"
    return f"open       {incident.severity:<9} {incident.title}  [{incident.key}]  {times}"


def _channel_line(channel: "ChannelState") -> str:
    counts = {"held": channel.held, "waiting": channel.waiting, "failed": channel.failed, "sent": channel.sent}
    text = ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "nothing yet"
    again = f"; next attempt {channel.next_attempt:%Y-%m-%d %H:%M:%S} UTC" if channel.next_attempt else ""
    return f"channel    {channel.name:<9} {text}{f': {channel.problem}{again}' if channel.problem else ''}"


def _alert_line(alert: "StoredAlert") -> str:
    mark = "" if alert.kind == "alert" else f"{alert.kind}: "
    state = f"  ({alert.reason})" if alert.state == "suppressed" else ""
    return f"{alert.at:%Y-%m-%d %H:%M} {alert.severity:<9} {mark}{alert.title}{state}"
