"""Settings of serving: paths, ports and names. All files are below TRADEWIND_HOME.

Each value can be set by an environment variable TRADEWIND_<NAME>.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent
MAX_DEADLINE_MS = 4000  # BentoML ends a request after 5 seconds
BENTO_POINTER = PROJECT / "champion" / "champion.json"  # the pointer inside a Bento
BENTO_RULES = BENTO_POINTER.with_name("rules.json")  # JSON is valid YAML

# The processes of one platform start in different folders, so a relative path is resolved once and stored absolute.
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]
Port = Annotated[int, Field(ge=1, le=65535)]


def _origins(text: str) -> str:
    for origin in text.split(",") if text else ():
        if not re.fullmatch(r"\*|https?://[^/\s]+", origin.strip()):
            raise ValueError("allowed: origins as https://shop.example, separated by commas; or * for all")
    return text


def _cache_url(url: str) -> str:
    if url and not re.fullmatch(r"memory://(\?mb=[1-9][0-9]{0,5})?|(redis|rediss|unix)://\S+", url):
        raise ValueError("allowed: memory://?mb=64, redis://HOST:PORT/NUMBER, or nothing for no cache")
    return url


CacheUrl = Annotated[str, AfterValidator(_cache_url)]
CorsOrigins = Annotated[str, AfterValidator(_origins)]


def default_home() -> Path:
    """.tradewind beside the source checkout, else in the user's home folder; never the current folder."""
    return PROJECT / ".tradewind" if (PROJECT / "pyproject.toml").is_file() else Path.home() / ".tradewind"


class ServingSettings(BaseSettings):
    """Settings of the service and of releases."""

    model_config = SettingsConfigDict(env_prefix="TRADEWIND_", env_ignore_empty=True, extra="ignore", frozen=True)

    home: AbsolutePath = Field(default_factory=default_home)
    dataset: str = "custom_b2b"  # the data set that is served and retrained
    host: str = "127.0.0.1"
    service_port: Port = 5001
    mlflow_port: Port = 5003
    mlflow_uri: str = ""  # default: SQLite below home
    champion_file: AbsolutePath | None = None  # default: below home; a Bento contains its own
    feedback_url: str = ""  # default: SQLite below home
    answer_days: Annotated[int, Field(ge=0)] = 30  # how long answers of POST /predict are kept; 0: they are not stored
    workers: Annotated[int, Field(ge=1, le=64)] = 1  # processes of the service that answer requests
    deadline_ms: Annotated[int, Field(ge=1, le=MAX_DEADLINE_MS)] = 1000  # that a list may wait before it is computed
    cache_url: CacheUrl = ""  # of lists that were ranked live; default: none
    cache_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300  # that a list is used again
    access_log: bool = False  # whether the service logs a line for each request
    api_keys_file: AbsolutePath | None = None  # default: requests need no key
    rules_file: AbsolutePath | None = None  # of the shop; default: configs/rules.yaml, a Bento contains its own
    cors_origins: CorsOrigins = ""  # of pages that may call the service, separated by commas

    @property
    def tracking_uri(self) -> str:
        """The address of MLflow's store."""
        return self.mlflow_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_url(self) -> str:
        """The address of MLflow's pages: of the configured server, else of the server that is started here."""
        return self.mlflow_uri if self.mlflow_uri.startswith("http") else f"http://{self.host}:{self.mlflow_port}"

    @property
    def artifact_root(self) -> Path:
        """The folder where MLflow stores files."""
        return self.home / "mlflow" / "artifacts"

    @property
    def champions(self) -> Path:
        """The folder of released bundles and of the pointer files."""
        return self.home / "champions"

    @property
    def pointer(self) -> Path:
        """The file that names the bundle to serve."""
        if self.champion_file is not None:
            return self.champion_file
        return BENTO_POINTER if BENTO_POINTER.is_file() else self.champions / f"{self.dataset}.json"

    @property
    def rules(self) -> Path:
        """The file with the rules of the shop."""
        if self.rules_file is not None:
            return self.rules_file
        return BENTO_RULES if BENTO_POINTER.is_file() else PROJECT / "configs" / "rules.yaml"

    @property
    def allowed_origins(self) -> list[str]:
        """The origins of pages that may call the service."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin]

    @property
    def feedback_store(self) -> str:
        """The address of the feedback store."""
        return self.feedback_url or f"sqlite:///{self.home / 'feedback' / 'events.db'}"

    @property
    def bentoml_home(self) -> Path:
        """BentoML's store; BENTOML_HOME of every process that builds or serves."""
        return self.home / "bentoml"
