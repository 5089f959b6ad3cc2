"""The one Definitions object: what Dagster loads. Its settings come from the environment."""

from orchestration.graph import definitions
from orchestration.settings import Settings

defs = definitions(Settings.read())
