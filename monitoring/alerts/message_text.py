"""The text of a message: of one alert in full, of several with the most severe first."""

from typing import NamedTuple

from monitoring.alerts.alert import Message, Notice, Severity, rank

MAX_IN_FULL, MAX_TITLES = 10, 100  # alerts of one message
TITLE_LENGTH = 200  # services cut titles at 250 characters


class MessageText(NamedTuple):
    """What a person reads. severity: of the most severe alert; None if all alerts are about the end of incidents."""

    title: str
    body: str
    severity: Severity | None


def message_text(message: Message, runbooks: str) -> MessageText:
    """The text of a message. runbooks: the page that the alerts link to."""
    notices = sorted(message.notices, key=lambda one: (one.kind != "resolved", rank(one.alert.severity)), reverse=True)
    open_ = [one.alert.severity for one in notices if one.kind != "resolved"]
    severity: Severity | None = sorted(open_, key=rank)[-1] if open_ else None
    if len(notices) == 1:
        title, parts = _title(notices[0]), [_details(notices[0], runbooks)]
    else:
        named = "; ".join(_one_line(one.alert.title) for one in notices)
        title = f"[{severity or 'resolved'}] {len(notices)} alerts: {named}"
        parts = [f"{_title(one)}\n{_details(one, runbooks)}" for one in notices[:MAX_IN_FULL]]
        parts += ["\n".join(map(_title, notices[MAX_IN_FULL:MAX_TITLES]))] if len(notices) > MAX_IN_FULL else []
        if len(notices) > MAX_TITLES:
            parts.append(f"and {len(notices) - MAX_TITLES} more: tradewind alerts list")
    # the number shows a person that a message came twice
    body = "\n\n".join([*parts, f"Tradewind message {message.number}"])
    return MessageText(title if len(title) <= TITLE_LENGTH else f"{title[:TITLE_LENGTH]}...", body, severity)


def runbook(notice: Notice, runbooks: str) -> str:
    """The address of the section about the cause of an alert."""
    return f"{runbooks}#{notice.alert.cause.replace(' ', '-')}"


def _title(notice: Notice) -> str:
    mark = "resolved" if notice.kind == "resolved" else notice.alert.severity
    return f"[{mark}{', reminder' * (notice.kind == 'reminder')}] {_one_line(notice.alert.title)}"


def _details(notice: Notice, runbooks: str) -> str:
    """The lines below the title of an alert; those without content are left out."""
    alert, n = notice.alert, notice.n_alerts
    since = f"{notice.opened_at:%Y-%m-%d %H:%M} UTC"
    if notice.kind == "resolved":
        return f"Over at {alert.at:%Y-%m-%d %H:%M} UTC; it began at {since}, with {n} alert{'s' * (n > 1)}."
    repeated = f"; {n} alerts since {since}" if n > 1 else ""
    lines = [
        alert.body,
        alert.done and f"Done by the platform: {alert.done}",
        f"What to do: {runbook(notice, runbooks)}",
        f"At {alert.at:%Y-%m-%d %H:%M:%S} UTC on {alert.dataset}{repeated}",
    ]
    return "\n".join(line for line in lines if line)


def _one_line(text: str) -> str:
    """A title without line breaks: in a mail it is a header."""
    return " ".join(text.split())
