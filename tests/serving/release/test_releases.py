"""Promotion and rollback in any order, on a real MLflow store: a rollback changes which version serves, or is an error.

A version that serves is never one of its own earlier versions.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders.errors import ReleaseError
from serving.champion.pointer import write_pointer
from serving.release.registry import Registry
from serving.release.versions import Version

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

Publish = Callable[[str], Version]


def promote(registry: Registry, dataset: str, *numbers: int) -> None:
    for number in numbers:
        registry.promote(dataset, number, {})


def delete(registry: Registry, dataset: str, number: int) -> None:
    """Deletes a version in MLflow, as a person does on its pages."""
    registry._client.delete_model_version(f"tradewind-{dataset}", str(number))


def state(registry: Registry, dataset: str) -> tuple[int, tuple[int, ...]]:
    """The version that serves, and its earlier versions; the aliases agree with them."""
    pointer = registry.pointer(dataset)
    assert pointer is not None
    assert registry.reconcile(dataset) == []
    assert registry.aliases(dataset).get("previous") == (pointer.earlier[-1] if pointer.earlier else None)
    return pointer.version, pointer.earlier


def test_a_rollback_after_the_champion_was_deleted_changes_the_version(registry: Registry, publish: Publish) -> None:
    for _ in range(3):
        publish("gone")
    promote(registry, "gone", 1, 2, 3)
    delete(registry, "gone", 3)
    promote(registry, "gone", 2)
    assert state(registry, "gone") == (2, (1,))
    assert registry.rollback("gone").number == 1
    assert registry.version("gone", 2).rolled_back_at
    assert not registry.version("gone", 1).rolled_back_at
    with pytest.raises(ReleaseError, match="version 1 serves, and no earlier champion is left; promote a version by"):
        registry.rollback("gone")


@pytest.mark.parametrize(
    ("promoted", "earlier"),
    [
        ((1, 2, 1), (2,)),
        ((1, 2, 1, 2), (1,)),
        ((1, 2, 3, 2), (1, 3)),
        ((1, 2, 3, 1, 1), (2, 3)),
        ((1, 2, 1, 3, 1, 2), (3, 1)),
    ],
)
def test_a_version_that_is_promoted_again_is_an_earlier_one_no_more(
    registry: Registry, publish: Publish, promoted: tuple[int, ...], earlier: tuple[int, ...]
) -> None:
    dataset = "again" + "".join(map(str, promoted))
    for _ in range(3):
        publish(dataset)
    promote(registry, dataset, *promoted)
    assert state(registry, dataset) == (promoted[-1], earlier)
    assert [registry.rollback(dataset).number for _ in earlier] == list(reversed(earlier))
    with pytest.raises(ReleaseError, match=f"version {earlier[0]} serves, and no earlier champion is left"):
        registry.rollback(dataset)


def test_a_pointer_of_older_code_that_holds_its_own_version_is_mended(registry: Registry, publish: Publish) -> None:
    for _ in range(2):
        publish("old")
    promote(registry, "old", 1, 2)
    path, pointer = registry.pointer_file("old"), registry.pointer("old")
    assert pointer is not None
    object.__setattr__(pointer, "earlier", (2, 1, 2))
    write_pointer(path, pointer)
    assert state(registry, "old") == (2, (1,))
    assert registry.rollback("old").number == 1


def test_a_lost_pointer_with_both_aliases_on_one_version_is_restored(registry: Registry, publish: Publish) -> None:
    for _ in range(2):
        publish("aliased")
    promote(registry, "aliased", 1, 2)
    registry.set_alias("aliased", "previous", 2)
    registry.pointer_file("aliased").unlink()
    assert any(line.endswith("version 2 serves") for line in registry.reconcile("aliased"))
    assert state(registry, "aliased") == (2, ())


def test_a_champion_that_was_deleted_cannot_be_rolled_back_to_nothing(registry: Registry, publish: Publish) -> None:
    publish("only")
    promote(registry, "only", 1)
    delete(registry, "only", 1)
    with pytest.raises(ReleaseError, match="version 1 serves, and no earlier champion is left"):
        registry.rollback("only")


def test_a_version_that_never_served_is_no_earlier_champion(registry: Registry, publish: Publish) -> None:
    """Its number is that of an earlier champion of the model that was deleted."""
    for _ in range(2):
        publish("renumbered")
    promote(registry, "renumbered", 1, 2)
    registry._client.delete_registered_model("tradewind-renumbered")
    with registry.run("renumbered", "training", {}, {}) as run:
        bundle = registry.settings.champions / "renumbered" / "2"
        assert registry.publish("renumbered", bundle, run.run_id, {}).number == 1
    with pytest.raises(ReleaseError, match="version 2 serves, and no earlier champion is left"):
        registry.rollback("renumbered")


N_VERSIONS, NAMES = 4, itertools.count()
STEPS = st.one_of(
    st.tuples(st.sampled_from(["promote", "promote", "delete", "pin"]), st.integers(1, N_VERSIONS)),
    st.just(("rollback", 0)),
)


@pytest.mark.slow
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=4, max_size=9))
def test_after_any_steps_a_rollback_changes_the_version_or_is_an_error(
    registry: Registry, market: Any, tmp_path_factory: Any, steps: list[tuple[str, int]]
) -> None:
    dataset, folder = f"walk{next(NAMES)}", tmp_path_factory.mktemp("bundles")
    for number in range(1, N_VERSIONS + 1):
        with registry.run(dataset, "training", {}, {}) as run:
            registry.publish(dataset, market.bundle(folder / str(number), number), run.run_id, {})
    promote(registry, dataset, 1, 2)
    for action, number in steps:
        before, rolled_back = registry.pointer(dataset), marked(registry, dataset)
        assert before is not None
        try:
            take(registry, dataset, action, number)
            if action == "rollback":
                assert registry.pointer(dataset).version in before.earlier  # type: ignore[union-attr]
                assert marked(registry, dataset) - rolled_back <= {before.version}
        except ReleaseError:
            assert registry.pointer(dataset) == before
            assert marked(registry, dataset) == rolled_back
        after = registry.pointer(dataset)
        assert after is not None
        assert after.version not in after.earlier
        assert len(set(after.earlier)) == len(after.earlier)
        assert action != "rollback" or after == before or after.version != before.version


def take(registry: Registry, dataset: str, action: str, number: int) -> None:
    if action == "promote":
        registry.promote(dataset, number, {})
    elif action == "pin":
        registry.pin(dataset, number)
    elif action == "rollback":
        registry.rollback(dataset)
    elif any(version.number == number for version in registry.versions(dataset)):
        delete(registry, dataset, number)


def marked(registry: Registry, dataset: str) -> set[int]:
    """The versions with a rollback mark."""
    return {version.number for version in registry.versions(dataset) if version.rolled_back_at}
