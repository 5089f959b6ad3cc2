"""`tradewind config`: the settings in force, and the schema of the configuration file."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from orchestration.cli.options import Changes, Config, check_config

if TYPE_CHECKING:
    from orchestration.settings import Settings

app = typer.Typer(help="The training configuration and the settings of the platform.", no_args_is_help=True)


@app.command()
def show(config: Config = None, changes: Changes = None) -> None:
    """Print all settings in force as YAML, each with its origin. The first part can be used as a --config file."""
    from orchestration.settings import Settings
    from recommenders.training.origins import to_yaml, with_origins

    check_config(config)
    settings = Settings.read(config=config, changes=changes or None)
    print("# The training configuration")
    print(to_yaml(with_origins(settings.config, settings.changes)))
    print("# The platform; an environment variable changes a setting (docs/operations.md)")
    for line in platform_lines(settings):
        print(f"# {line}")


def platform_lines(settings: "Settings") -> Iterator[str]:
    """One line for each setting of the platform: variable, value, origin. Passwords and keys are hidden."""
    from_environment = type(settings)().model_fields_set
    for name in type(settings).model_fields:
        value, origin = getattr(settings, name), "environment" if name in from_environment else "default"
        if name != "changes":
            yield f"TRADEWIND_{name.upper()}={shown(name, value)}  ({origin})"


def shown(name: str, value: object) -> str:
    """A value as text, without the credentials and the options of an address, and without keys."""
    text = "" if value is None else str(value)
    if name.endswith("_key") and text:
        return "***"
    hidden = re.sub(r"://[^/@]*@", "://***@", text)
    return re.sub(r"\?.*", "?***", hidden) if "://" in hidden else hidden


@app.command()
def schema() -> None:
    """Print the JSON Schema of the training configuration, for editors."""
    from recommenders.training.configuration import TrainingConfig

    print(json.dumps(TrainingConfig.model_json_schema(), indent=2))
