"""A PostgreSQL of this process, with an empty database, for benchmarks and tests. It ends with the block."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

PASSWORD = "p@ss/w:rd"  # has the characters that a URL must escape
QUOTED = quote(PASSWORD, safe="")
STOP_SECONDS = 30

Command = Sequence[str]


class MissingError(RuntimeError):
    """A program that is not installed; the message names its package."""


def programs() -> tuple[Command, Command]:
    """The commands of initdb and postgres, as a user that they accept. Raises MissingError."""
    as_nobody = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []  # initdb refuses root
    if as_nobody and not shutil.which("runuser"):
        raise MissingError("runuser is not installed (apt-get install util-linux), and PostgreSQL refuses root")
    return [*as_nobody, _program("initdb")], [*as_nobody, _program("postgres")]


def _program(name: str) -> str:
    """The path of a program of PostgreSQL's server, which is not on PATH in Debian."""
    found = [shutil.which(name), *sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))[::-1]]
    path = next(filter(None, found), None)
    if not path:
        raise MissingError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return path


@contextmanager
def postgresql(port: int) -> Iterator[str]:
    """Yields the URL of a database on this port of 127.0.0.1, with QUOTED in it. Raises MissingError."""
    commands = programs()
    folder = Path(tempfile.mkdtemp(prefix="tradewind-postgres-"))  # pytest's folders are closed to nobody
    folder.chmod(0o777)
    try:
        yield from _served(folder, *commands, port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _served(folder: Path, initdb: Command, postgres: Command, port: int) -> Iterator[str]:
    password = folder / "password"
    password.write_text(f"{PASSWORD}\n")
    make = ["-D", f"{folder}/db", "-U", "reader", f"--pwfile={password}", "-A", "scram-sha-256", "-N"]
    subprocess.run([*initdb, *make], check=True, capture_output=True, cwd=folder)
    # -F: no wait for the disk. What a client was told survives the client all the same
    serve = ["-D", f"{folder}/db", "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
    server = subprocess.Popen(
        [*postgres, *serve], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if "ready to accept connections" in line:
                break
        yield f"postgresql://reader:{QUOTED}@127.0.0.1:{port}/postgres"
    finally:
        postmaster = folder / "db" / "postmaster.pid"
        if postmaster.exists():  # runuser does not pass the signal on
            os.kill(int(postmaster.read_text().split()[0]), 2)
        server.communicate(timeout=STOP_SECONDS)
