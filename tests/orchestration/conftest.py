"""A small market and a quick configuration, so that all assets materialise in seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestration.settings import Settings
from serving.settings import PROJECT


def quick_configuration(folder: Path, fit: dict[str, object] | None = None, **models: dict[str, object]) -> Path:
    """The default configuration with a market of 5 % and small networks; `models` and `fit` override settings."""
    config = yaml.safe_load((PROJECT / "configs" / "training.yaml").read_text())
    config["data"]["scale"] = 0.05
    config["models"]["neural_collaborative"] |= {
        "epochs": 1,
        "embedding_dim": 8,
        "hidden_layers": [16, 8],
    }
    config["models"]["sasrec"] |= {"fixed_epochs": 2, "embedding_dim": 8}
    config["models"]["ials"] |= {"embedding_dim": 16}
    config["models"]["hybrid_learned"] |= {"n_windows": 1, "n_estimators": 30}
    config["fit"] = fit or {}
    for name, values in models.items():
        config["models"][name] |= values
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session", name="quick_configuration")
def _quick_configuration() -> Callable[..., Path]:
    return quick_configuration


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., Settings]:
    """A function that makes settings with a given home."""

    def make(home: Path, **given: object) -> Settings:
        return Settings.read(**{"home": home, "config": quick_configuration(home), **given})

    return make


@pytest.fixture(scope="session")
def free_ports(pick_port: Callable[[], int]) -> Callable[[], dict[str, int]]:
    """A function that returns settings with a free port for every service."""
    return lambda: {f"{name}_port": pick_port() for name in ("dagster", "service", "mlflow", "evidently", "metrics")}
