"""Whether a shop that sent events has stopped: it asks for lists, and nothing comes back."""

from datetime import UTC, datetime

from monitoring.online.reader import OnlineReader

HOURS = 36  # a shop may send its events once a day
MIN_LISTS = 30  # after which some event is usual
HOUR = 3_600_000_000  # microseconds


def silence(reader: OnlineReader, now: int) -> str:
    """Since when no event has come although lists are served, as text; "" if that is not so.

    A shop that never sent an event is not silent. now: microseconds since 1970, UTC. Raises DataError if the store
    cannot be read.
    """
    span = reader.span(now)
    if span is None or not span.newest_event or now - span.newest_event < HOURS * HOUR:
        return ""
    n_lists = reader.count_lists(span.newest_event + 1, now)
    if n_lists < MIN_LISTS:
        return ""
    newest = datetime.fromtimestamp(span.newest_event / 1e6, UTC)
    return f"no event has come since {newest:%Y-%m-%d %H:%M}, and {n_lists} lists were served after it"
