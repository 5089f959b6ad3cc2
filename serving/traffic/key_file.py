"""The file of API keys: names, hashes, limits and scopes. A key itself is stored nowhere.

    keys:
    - name: shop
      sha256: 5f0c...          of the key, as hexadecimal digits
      per_second: 50           optional: requests per second
      burst: 100               optional: requests at once; by default the requests of one second
      scopes: [admin]          optional

A key has 256 random bits, so it cannot be guessed from its hash, and one SHA-256 is enough. A slow hash (scrypt,
argon2) protects passwords that people choose; here it would cost each request tens of milliseconds.
"""

import hashlib
import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommenders.errors import ConfigurationError
from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.locks import locked

PREFIX = "tw_"  # lets people and secret scanners recognise a key
KEY_BYTES = 32
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Scope = Literal["admin"]


class ApiKey(BaseModel):
    """A key that the service accepts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(ge=1)] | None = None
    scopes: list[Scope] = []

    @property
    def at_once(self) -> int:
        """The number of requests that may come at once; used if per_second is set."""
        return self.burst or max(1, math.ceil(self.per_second or 1))


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: list[ApiKey] = []


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file. Raises ConfigurationError; the message shows no value, because it may be a key."""
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; create it with: tradewind keys add NAME") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise ConfigurationError(f"{path} is not YAML{'' if line is None else f' (line {line + 1})'}") from None
    try:
        keys = _Content.model_validate({} if content is None else content).keys
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(f"{path}: {place}: {first['msg']}; see docs/api.md#keys") from None
    names = [key.name for key in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"{path}: got the name {twice[0]} twice; allowed: each name once")
    return keys


def add_key(path: Path, name: str, per_second: float | None, burst: int | None, scopes: Sequence[Scope]) -> str:
    """Makes a key, stores its hash, and returns the key. Raises ConfigurationError."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    if burst is not None and per_second is None:
        raise ConfigurationError("--burst: got a burst without a limit; allowed: together with --per-second")
    try:
        entry = ApiKey(name=name, sha256=digest(key), per_second=per_second, burst=burst, scopes=list(scopes))
    except ValidationError as error:
        first = error.errors()[0]
        what = "letters, digits, '.', '_' and '-', up to 64" if first["loc"] == ("name",) else first["msg"]
        raise ConfigurationError(f"{first['loc'][0]}: got {first['input']!r}; allowed: {what}") from None
    with locked(_lock(path)):
        keys = read_keys(path) if path.exists() else []
        if name in [existing.name for existing in keys]:
            raise ConfigurationError(f"{path} has a key {name} already; remove it first, or use another name")
        _write(path, [*keys, entry])
    return key


def remove_key(path: Path, name: str) -> None:
    """Removes the key with that name. Raises ConfigurationError if there is none."""
    with locked(_lock(path)):
        keys = read_keys(path)
        kept = [key for key in keys if key.name != name]
        if len(kept) == len(keys):
            raise ConfigurationError(f"{path} has no key {name}; it has {', '.join(k.name for k in keys) or 'none'}")
        _write(path, kept)


def digest(key: str) -> str:
    """The SHA-256 of a key, as hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _write(path: Path, keys: Sequence[ApiKey]) -> None:
    content = {"keys": [key.model_dump(exclude_defaults=True) for key in keys]}
    with atomic_file(path, durable=True) as staging:
        staging.touch(mode=0o600)
        staging.write_text(yaml.safe_dump(content, sort_keys=False))
