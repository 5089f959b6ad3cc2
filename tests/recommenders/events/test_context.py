"""The context of a fitted model: the same after a round trip, and one object for the bundles of one training."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.events.context import FittedContext
from recommenders.events.sale_periods import SalePeriods
from recommenders.storage import contexts


@pytest.fixture
def context(world: Any) -> FittedContext:
    n_items = len(world[0].items)
    periods = SalePeriods(np.arange(n_items), np.arange(n_items) + 7)
    return FittedContext.from_log(replace(world[0], sale_periods=periods))


@pytest.mark.parametrize("dated", [True, False])
def test_arrays_keep_the_context(context: FittedContext, dated: bool) -> None:
    one = replace(context, dated=dated, sale_periods=context.sale_periods if dated else None)
    again = FittedContext.from_arrays(one.arrays())
    assert (again.repeat, again.dated, again.as_of) == (one.repeat, dated, one.as_of)
    assert (again.sale_periods is None) == (not dated)
    assert again.histories.shape == one.histories.shape
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_further_arrays_of_a_later_version_are_ignored(context: FittedContext) -> None:
    later = {**context.arrays(), "attributes.price": np.ones(len(context.items))}
    np.testing.assert_array_equal(FittedContext.from_arrays(later).items.ids, context.items.ids)


def test_bundles_with_one_context_share_one_object_while_a_model_has_it(context: FittedContext, tmp_path: Path) -> None:
    digests = {contexts.write(tmp_path / name / "contexts", context.arrays()) for name in ("a", "b")}
    (digest,) = digests
    first = FittedContext.load(tmp_path / "a", digest)
    assert FittedContext.load(tmp_path / "b", digest) is first
    alive = weakref.ref(first)
    del first
    gc.collect()
    assert alive() is None


def test_another_log_has_another_context(context: FittedContext, tmp_path: Path) -> None:
    other = replace(context, as_of=context.as_of + 1)
    digests = [contexts.write(tmp_path / "a" / "contexts", one.arrays()) for one in (context, other)]
    loaded = [FittedContext.load(tmp_path / "a", digest) for digest in digests]
    assert [one.as_of for one in loaded] == [context.as_of, other.as_of]
