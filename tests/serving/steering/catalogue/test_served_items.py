"""The items of a champion with the attributes of the catalogue, and the catalogue that changes while it serves."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.events.ids import IdMap
from serving.steering.catalogue import current
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable, Column, Texts
from serving.steering.catalogue.conditions import read_conditions
from serving.steering.catalogue.current import CurrentCatalogue
from serving.steering.catalogue.files import Catalogue, arrays_file, record_file, write
from serving.steering.catalogue.served_items import ServedItems
from serving.web.validation import InvalidRequestError

NOBODY = AttributeTable(Texts.from_sorted([]), {})


def priced(**prices: float) -> AttributeTable:
    columns = {"price": Column("number", np.array([prices[id_] for id_ in sorted(prices)]), NO_TEXTS)}
    return AttributeTable(Texts.from_sorted(sorted(prices)), columns)


def served(*items: str, **prices: float) -> ServedItems:
    return ServedItems(Catalogue(priced(**prices), NOBODY, "v"), IdMap.from_ids(items))


def mask(items: ServedItems, **filters: Any) -> list[bool]:
    return items.mask(read_conditions(filters, items.kinds, "filters")).tolist()


def test_values_and_masks_are_in_the_order_of_the_model() -> None:
    items = served("a", "c", "d", a=1.0, b=2.0, d=4.0, e=5.0)  # b and e are unknown to the model, c to the catalogue
    assert [items.values(id_, ["price"]) for id_ in ("a", "c", "d")] == [
        {"price": 1.0},
        {"price": None},
        {"price": 4.0},
    ]
    assert mask(items, price={"min": 1}) == [True, False, True]
    assert mask(items, price=4) == [False, False, True]
    assert mask(items, price={"not": 4}) == [True, False, False]
    assert items.version == "v"


def test_a_catalogue_without_items_serves_no_values() -> None:
    items = served("a")
    assert items.values("a", ["price"]) == {"price": None}
    assert mask(items, price={"min": 0}) == [False]


def test_fields_and_filters_are_checked_together() -> None:
    with pytest.raises(InvalidRequestError) as error:
        served("a", a=1.0).check(["price", "prise"], {"pric": 1})
    assert [fault["field"] for fault in error.value.details] == ["fields[1]", "filters.pric"]
    assert "fields[1]: got 'prise'; allowed: only price; did you mean price?" in str(error.value)


def test_masks_of_equal_filters_are_cached_read_only_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    items = served("a", "b", a=1.0, b=2.0)
    one, other = (items.check([], {"price": wanted}) for wanted in ({"min": 2, "max": 3}, {"max": 3.0, "min": 2.0}))
    assert items.mask(one) is items.mask(other)
    with pytest.raises(ValueError, match="read-only"):
        items.mask(one)[0] = True
    monkeypatch.setattr("serving.steering.catalogue.served_items.MAX_MASK_BYTES", 4)  # two masks of two items
    items = served("a", "b", a=1.0, b=2.0)
    first = weakref.ref(items.mask(one))
    for price in (1, 2):
        items.mask(items.check([], {"price": price}))
    assert first() is None


def test_replaced_items_are_freed_without_the_collector() -> None:
    """The service freezes the collector, so a cycle would keep every replaced catalogue in memory."""
    gc.disable()
    try:
        items = served("a", a=1.0)
        mask(items, price=1)
        freed = weakref.ref(items)
        del items
        assert freed() is None
    finally:
        gc.enable()


class TestCurrentCatalogue:
    @pytest.fixture
    def record(self, tmp_path: Path) -> Path:
        return record_file(tmp_path / "toy.json")

    def test_without_a_file_there_is_no_catalogue_and_no_problem(self, record: Path) -> None:
        now = CurrentCatalogue(record)
        now.poll()
        assert (now.catalogue, now.problem) == (None, "")

    def test_a_new_catalogue_is_loaded_and_a_damaged_one_refused(
        self, record: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = CurrentCatalogue(record)
        first = write(record, priced(a=1.0), NOBODY)
        now.poll()
        assert now.catalogue is not None
        assert now.catalogue.version == first.version
        loaded = now.catalogue
        now.poll()
        assert now.catalogue is loaded
        second = write(record, priced(a=2.0), NOBODY)
        good = arrays_file(record, second.version).read_bytes()
        arrays_file(record, second.version).write_bytes(b"damaged")
        now.poll()
        assert now.catalogue is loaded
        assert "was changed" in now.problem
        arrays_file(record, second.version).write_bytes(good)
        now.poll()  # too early
        assert now.catalogue is loaded
        monkeypatch.setattr(current.time, "monotonic", lambda: 1e12)
        now.poll()
        assert now.problem == ""
        assert now.catalogue.version == second.version

    def test_a_removed_or_unreadable_file_is_a_problem_and_the_old_one_stays(self, record: Path) -> None:
        now = CurrentCatalogue(record)
        write(record, priced(a=1.0), NOBODY)
        now.poll()
        loaded = now.catalogue
        record.unlink()
        now.poll()
        assert "does not exist any more" in now.problem
        record.write_text("{")
        now.poll()
        assert "names no catalogue" in now.problem
        assert now.catalogue is loaded
        write(record, priced(a=1.0), NOBODY)
        now.poll()
        assert (now.problem, now.catalogue) == ("", loaded)
