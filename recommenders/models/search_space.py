"""Search spaces: which values of its settings a tuning of a model tries. Each configuration declares its own."""

import itertools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

GRID_POINTS = 3  # of a range


class Range(BaseModel):
    """All numbers from low to high: whole numbers if both ends are. log: equal ratios are equally likely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ends_in_order(self) -> Self:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low: got {self.low} with high {self.high}; allowed: a number below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low: got {self.low} with log; allowed: above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self) -> list[Any]:
        """The values of a grid search: both ends and the middle, each once."""
        space = np.geomspace if self.log else np.linspace
        points = [float(value) for value in space(self.low, self.high, GRID_POINTS)]
        return list(dict.fromkeys(round(value) for value in points)) if self.whole else points


class Choice(BaseModel):
    """One of some values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[bool | int | float | str | None, ...] = Field(min_length=2)

    def grid(self) -> list[Any]:
        """The values of a grid search: all of them."""
        return list(self.choices)


Dimension = Range | Choice
SearchSpace = Mapping[str, Dimension]  # key of a model's section, or key.name within a mapping -> its values


def grid_of(space: SearchSpace) -> list[dict[str, Any]]:
    """All combinations of the grid values of a space."""
    values = [dimension.grid() for dimension in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]
