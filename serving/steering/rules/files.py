"""The rules on disk: the file that people write, and each version that served, beside the champion's pointer.

configs/rules.yaml                       the file (TRADEWIND_RULES_FILE)
champions/custom_b2b.rules/SHA256.json   each version that served, so that an earlier answer can be made again
"""

import hashlib
import logging
from pathlib import Path

import orjson
import yaml

from recommenders.storage.atomic_files import atomic_file
from serving.steering.rules.rule_types import Rules, RulesError, parse

MAX_EARLIER = 50  # versions that stay on disk
MAX_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


def rules_folder(pointer_file: Path) -> Path:
    """The folder of the versions that served."""
    return pointer_file.with_suffix(".rules")


def read(path: Path) -> Rules:
    """The rules in a file. Raises RulesError if it is missing, or not valid."""
    return rules_in(content_of(path), str(path))


def content_of(path: Path) -> bytes:
    """The content of a file of rules, of which MAX_BYTES + 1 are read. Raises RulesError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise RulesError(f"{path} does not exist; write it, with `rules: []` for no rules") from error
    except OSError as error:
        raise RulesError(
            f"{path} cannot be read: {error.strerror}; allowed: a file that the service can read"
        ) from error


def rules_in(content: bytes, where: str) -> Rules:
    """The rules in the content of a file. where: the file, for errors. Raises RulesError if it is not valid."""
    if len(content) > MAX_BYTES:
        raise RulesError(f"{where}: got more than {MAX_BYTES} bytes; allowed: up to {MAX_BYTES}; write fewer rules")
    try:
        return parse(yaml.safe_load(content.decode()), where)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RulesError(f"{where} is not YAML: {' '.join(str(error).split())}; fix the file") from error


def write(path: Path, content: bytes) -> None:
    """Replaces a file of rules as one step; it keeps its permissions. Raises OSError."""
    mode = path.stat().st_mode & 0o7777 if path.exists() else None
    with atomic_file(path, durable=True) as staging:
        staging.write_bytes(content)
        if mode is not None:
            staging.chmod(mode)


def keep(folder: Path, rules: Rules) -> None:
    """Stores a version that serves now; the newest MAX_EARLIER + 1 stay. Raises OSError."""
    path = folder / f"{_hash(rules)}.json"
    if not path.is_file() or path.read_text() != rules.text:
        with atomic_file(path, durable=True) as staging:
            staging.write_text(rules.text)
    path.touch()  # the newest is the one that serves
    for old in _newest(folder)[MAX_EARLIER + 1 :]:
        old.unlink(missing_ok=True)


def kept(folder: Path, version: str) -> Rules:
    """A version that served, checked against its hash; none for an empty version. Raises RulesError if it is lost."""
    if not version:
        return Rules()
    path = folder / f"{version}.json"
    try:
        text = path.read_text()
    except OSError as error:
        why = f"{error.strerror}; only the newest {MAX_EARLIER + 1} stay on disk"
        raise RulesError(f"rules {path} cannot be read: {why}") from error
    if (got := hashlib.sha256(text.encode()).hexdigest()) != version:
        raise RulesError(f"rules {path} were changed (sha256 {got[:12]}, expected {version[:12]})")
    return parse(orjson.loads(text), str(path))


def newest(folder: Path) -> Rules | None:
    """The version that served last; None if there is none that can be read."""
    for path in _newest(folder):
        try:
            return kept(folder, path.stem)
        except RulesError as error:
            log.error("%s", error)
    return None


def _hash(rules: Rules) -> str:
    return hashlib.sha256(rules.text.encode()).hexdigest()


def _newest(folder: Path) -> list[Path]:
    """The files of a folder, newest first. Another worker may remove one meanwhile."""
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue
    return [path for _, path in sorted(found, reverse=True)]
