"""A new file of rules from a client: checked as the hot reload checks it, written, and served at once."""

from pathlib import Path

from recommenders.storage.locks import locked
from serving.champion.watcher import Champion, ChampionWatcher
from serving.steering.rules.files import rules_in, write


class RulesChangedError(Exception):
    """Other rules serve than those that the client has read. version: of those that serve."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


class ReadOnlyRulesError(Exception):
    """The file of rules cannot be written here; the message says why."""


def change_rules(watcher: ChampionWatcher, file: Path, content: bytes, read: frozenset[str] | None) -> Champion:
    """Replaces the file of rules, and returns the champion that serves with them. One change at a time.

    content: of the new file. read: versions of the rules, one of which must serve now; None: any may.
    Raises RulesError if the content is not valid or does not fit catalogue and model, RulesChangedError, and
    ReadOnlyRulesError. After any of these the old file and the old rules stay. There must be a champion.
    """
    try:
        with locked(file.with_name(f".{file.name}.lock")):
            return _changed(watcher, file, content, read)
    except OSError as error:
        raise ReadOnlyRulesError(error.strerror or str(error)) from error


def _changed(watcher: ChampionWatcher, file: Path, content: bytes, read: frozenset[str] | None) -> Champion:
    now = _served(watcher)
    if read is not None and now not in read:
        raise RulesChangedError(now)
    rules = rules_in(content, "rules")
    watcher.check_rules(rules)
    write(file, content)
    champion = watcher.reload()
    assert champion
    if _version(champion) != rules.version:  # someone wrote the file by hand at the same time
        raise RulesChangedError(_version(champion))
    return champion


def _served(watcher: ChampionWatcher) -> str:
    """The version of the rules that serve, after what is on disk was read."""
    champion = watcher.reload()
    assert champion
    return _version(champion)


def _version(champion: Champion) -> str:
    return champion.rules.version if champion.rules else ""
