"""How the signals of a person or a process manager end a command that starts processes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Within it SIGTERM ends this process; so does SIGINT, unless the parent process had it ignored.

    One handler for both signals: Dagster gives SIGTERM the handler of SIGINT after each run, and a script's background
    jobs ignore SIGINT, so only SIGKILL would end one.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, _: object) -> None:
        if number == signal.SIGTERM:
            raise SystemExit(143)
        if before[signal.SIGINT] is not signal.SIG_IGN:
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
