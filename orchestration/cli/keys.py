"""`tradewind keys`: the API keys of the service."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, echo
from recommenders.errors import ConfigurationError

app = typer.Typer(help="API keys of the service: add, list, remove.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who uses the key.")]


@app.command("add")
def keys_add(
    name: Name,
    per_second: Annotated[float | None, typer.Option(help="Limit: requests per second.")] = None,
    burst: Annotated[
        int | None, typer.Option(help="Requests that may come at once.", show_default="those of one second")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Give the key the scope admin.")] = False,
) -> None:
    """Make a key and print it. Only its hash is stored, so it cannot be printed again."""
    from serving.traffic.key_file import add_key

    path = _path()
    print(add_key(path, name, per_second, burst, ["admin"] if admin else []))
    echo(f"Added the key {name} to {path}. Running services accept it within a second. It is not shown again.")


@app.command("list")
def keys_list(as_json: AsJson = False) -> None:
    """List the names of the keys, with their limits and scopes."""
    from serving.traffic.key_file import read_keys

    keys = read_keys(_path())
    if as_json:
        print(json.dumps([key.model_dump(exclude={"sha256"}) for key in keys]))
        return
    for key in keys:
        limit = f"{key.per_second:g} per second, {key.at_once} at once" if key.per_second else "no limit"
        print(key.name, limit, *key.scopes, sep="  ")


@app.command("remove")
def keys_remove(name: Name) -> None:
    """Remove a key. Running services refuse it within a second."""
    from serving.traffic.key_file import remove_key

    path = _path()
    remove_key(path, name)
    echo(f"Removed the key {name} from {path}.")


def _path() -> Path:
    from orchestration.settings import Settings

    path = Settings.read().api_keys_file
    if path is None:
        raise ConfigurationError(
            "TRADEWIND_API_KEYS_FILE: got nothing; allowed: the path of a file, which may not exist yet. Set the same "
            "path for this command and for the service"
        )
    return path
