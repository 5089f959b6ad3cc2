"""Replaces ${NAME} in a setting by an environment variable, and removes such values from messages."""

import os
import re
from urllib.parse import quote

from recommenders.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{(\w+)\}")
CREDENTIALS = re.compile(r"(://)[^@/\s]*@")


class Secrets:
    """The environment variables that the settings of one data set use."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self._values: set[str] = set()

    def fill(self, text: str) -> str:
        """The text with each ${NAME} replaced. Raises ConfigurationError if a variable is not set."""
        return VARIABLE.sub(lambda found: self._value(found[1]), text)

    def hide(self, value: str | None) -> None:
        """Adds a value that messages must not contain."""
        if value:
            self._values |= {value, quote(value, safe="")}

    def scrub(self, text: object) -> str:
        """The first line of a message, without any of the values and without credentials in a URL."""
        line = next(iter(str(text).strip().splitlines()), "no reason given")
        for value in sorted(self._values, key=len, reverse=True):
            line = line.replace(value, "***")
        return CREDENTIALS.sub(r"\1***@", line)

    def _value(self, name: str) -> str:
        value = os.environ.get(name)
        if not value:
            raise ConfigurationError(
                f"{self.dataset}: ${{{name}}} is not set; export {name}=... and run the command again"
            )
        self.hide(value)
        return value
