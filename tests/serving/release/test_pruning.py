"""Pruning of versions, runs and Bentos on a real MLflow store: what serves, or may serve again, stays."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recommenders.errors import ReleaseError
from recommenders.storage.retention import Limit, what_to_prune
from serving.champion.pointer import read_pointer
from serving.champion.watcher import ChampionWatcher
from serving.lists import precomputed
from serving.release import bento, pruning
from serving.release.challenger import _must_be_better_reason
from serving.release.registry import Registry
from serving.release.versions import Version

# MLflow 3.17's own tables use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

Publish = Callable[[str], Version]


def prune(registry: Registry, dataset: str, newest: int = 1) -> list[int]:
    """Prunes all but the newest versions; the numbers of those that went."""
    found, protected = pruning.stored_versions(registry, dataset), pruning.protected_versions(registry, dataset)
    pruned = what_to_prune(found, protected, Limit(newest), datetime.now(UTC))
    for one in pruned:
        pruning.prune_version(registry, dataset, int(one.stored.name))
    return [int(one.stored.name) for one in pruned]


def history(registry: Registry, publish: Publish, dataset: str, n: int, promoted: tuple[int, ...]) -> None:
    """Publishes n versions; those whose numbers are given are promoted."""
    for number in range(1, n + 1):
        version = publish(dataset)
        if number in promoted:
            registry.promote(dataset, version.number, {})


def artifacts(registry: Registry, version: Version) -> Path:
    return registry.settings.artifact_root / version.dataset / version.run_id / "artifacts"


def test_champion_and_predecessor_stay_and_a_rollback_works(registry: Registry, publish: Publish) -> None:
    history(registry, publish, "pruned kept", 5, promoted=(1, 2, 4))
    lists = precomputed.folder_of(registry.settings.champions / "pruned kept" / "1")
    lists.mkdir()
    before = {number: registry.version("pruned kept", number) for number in range(1, 6)}
    reasons = {"5": "the newest", "4": "the champion", "2": "the champion before"}
    assert pruning.protected_versions(registry, "pruned kept") == reasons
    assert prune(registry, "pruned kept") == [1, 3]
    assert [version.number for version in registry.versions("pruned kept")] == [5, 4, 2]
    for number in (1, 3):
        assert not artifacts(registry, before[number]).exists()
        assert not (registry.settings.champions / "pruned kept" / str(number)).exists()
    assert not lists.exists()
    assert artifacts(registry, before[2]).is_dir()
    assert prune(registry, "pruned kept") == []
    assert registry.reconcile("pruned kept") == []
    assert registry.rollback("pruned kept").number == 2
    with pytest.raises(ReleaseError, match="no earlier champion is left"):  # and never one without files
        registry.rollback("pruned kept")
    assert publish("pruned kept").number == 6


def test_a_pinned_version_and_versions_with_an_alias_stay(registry: Registry, publish: Publish) -> None:
    history(registry, publish, "pruned named", 4, promoted=(2,))
    registry.pin("pruned named", 2)
    registry.set_alias("pruned named", "shadow", 1)
    reasons = {"4": "the newest", "2": "the champion, pinned", "1": "alias shadow"}
    assert pruning.protected_versions(registry, "pruned named") == reasons
    assert prune(registry, "pruned named") == [3]


def test_a_version_that_is_in_memory_stays(registry: Registry, publish: Publish) -> None:
    history(registry, publish, "pruned loaded", 4, promoted=(1,))
    watcher = ChampionWatcher(registry.pointer_file("pruned loaded"))
    watcher.poll()
    for number in (2, 3):  # the watcher does not poll yet
        registry.promote("pruned loaded", number, {})
    assert pruning.protected_versions(registry, "pruned loaded")["1"] == "a service has it in memory"
    watcher.poll()  # it keeps the version before, for a rollback
    assert prune(registry, "pruned loaded") == []
    registry.promote("pruned loaded", 4, {})
    watcher.poll()
    assert watcher.champion is not None
    assert prune(registry, "pruned loaded") == [1, 2]


def test_a_version_that_was_promoted_meanwhile_stays(registry: Registry, publish: Publish) -> None:
    history(registry, publish, "pruned meanwhile", 3, promoted=(2,))
    registry.promote("pruned meanwhile", 1, {})  # after it was chosen
    pruning.prune_version(registry, "pruned meanwhile", 1)
    assert registry.rollback("pruned meanwhile").number == 2
    assert registry.version("pruned meanwhile", 1).pruned_at is None


def test_aliases_count_while_the_pointer_is_damaged(registry: Registry, publish: Publish) -> None:
    history(registry, publish, "pruned pointless", 3, promoted=(1, 2))
    registry.pointer_file("pruned pointless").write_text("{")
    reasons = {"3": "the newest", "2": "alias champion", "1": "alias previous"}
    assert pruning.protected_versions(registry, "pruned pointless") == reasons


def test_the_record_of_a_rollback_stays_without_its_files(registry: Registry, publish: Publish) -> None:
    for recipe in ("good", "bad", "x", "y"):
        registry.set_tags(publish("pruned rolled"), {"recipe": recipe})
    registry.promote("pruned rolled", 1, {})
    registry.promote("pruned rolled", 2, {})
    registry.rollback("pruned rolled")
    before = registry.version("pruned rolled", 2)
    assert prune(registry, "pruned rolled") == [2, 3]
    assert [version.number for version in registry.versions("pruned rolled")] == [4, 2, 1]
    assert not artifacts(registry, before).exists()
    assert prune(registry, "pruned rolled") == []
    again = registry.set_tags(publish("pruned rolled"), {"recipe": "bad"})
    assert "version 2, with the same recipe" in _must_be_better_reason(
        registry, registry.version("pruned rolled", 1), again
    )
    with pytest.raises(ReleaseError, match="version 2 of tradewind-pruned rolled was pruned on"):
        registry.promote("pruned rolled", 2, {})
    registry.promote(
        "pruned rolled", again.number, {}
    )  # a person promotes the recipe: the record is not needed any more
    assert 2 in prune(registry, "pruned rolled")
    assert [version.number for version in registry.versions("pruned rolled")] == [5, 1]


def test_a_kill_before_any_step_is_completed_by_the_next_pruning(
    registry: Registry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    history(registry, publish, "pruned killed", 6, promoted=(2, 5, 6))
    for number, step in enumerate(("set_tags", "delete_artifacts", "delete_run", "delete_version"), 1):
        with monkeypatch.context() as broken:
            broken.setattr(Registry, step, kill)
            with pytest.raises(Killed):
                pruning.prune_version(registry, "pruned killed", number)
        assert registry.reconcile("pruned killed") == []
        assert registry.champion("pruned killed").number == 6
    begun = {one.name for one in pruning.stored_versions(registry, "pruned killed") if one.unfinished}
    assert begun == {"2", "3", "4"}
    assert registry.rollback("pruned killed").number == 5
    with pytest.raises(ReleaseError, match="no earlier champion is left"):  # version 2 is marked, but has its artifacts
        registry.rollback("pruned killed")
    assert prune(registry, "pruned killed", newest=20) == [2, 3, 4]  # although the limit would let them stay
    assert prune(registry, "pruned killed") == [1]
    assert [version.number for version in registry.versions("pruned killed")] == [6, 5]
    assert registry.reconcile("pruned killed") == []


def test_runs_of_no_version_go_and_those_of_stored_models_stay(
    registry: Registry, publish: Publish, market: Any, tmp_path: Path
) -> None:
    version = publish("pruned runs")
    with registry.run("pruned runs", "fit", {}, {}) as old, registry.run("pruned runs", "fit", {}, {}) as last:
        old.log_bytes("curve.txt", b"curve")
    market.bundle(tmp_path / "lake" / "popularity")
    manifest = tmp_path / "lake" / "popularity" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"provenance": {', f'"provenance": {{"run_id": "{last.run_id}", '))
    found = {one.name: one for one in registry.stored_runs("pruned runs")}
    assert set(found) == {version.run_id, old.run_id, last.run_id}
    assert found[old.run_id].bytes == len(b"curve")
    protected = pruning.protected_runs(registry, "pruned runs", tmp_path / "lake")
    assert protected == {version.run_id: "of version 1", last.run_id: "of a model of the last training"}
    for _ in range(2):  # a second time changes nothing
        registry.delete_run(old.run_id)
        assert {one.name for one in registry.stored_runs("pruned runs")} == {version.run_id, last.run_id}
    assert not (registry.settings.artifact_root / "pruned runs" / old.run_id / "artifacts").exists()
    assert registry.stored_runs("never trained") == []


def test_a_run_of_two_versions_keeps_the_bundle_of_the_other(registry: Registry, market: Any, tmp_path: Path) -> None:
    with registry.run("pruned shared", "training", {}, {}) as run:
        for n in range(2):
            registry.publish("pruned shared", market.bundle(tmp_path / str(n), n), run.run_id, {})
    assert prune(registry, "pruned shared") == [1]
    assert registry.promote("pruned shared", 2, {}).number == 2
    assert len(list(artifacts(registry, registry.version("pruned shared", 2)).glob("bundles/*"))) == 1


@pytest.fixture
def built(market: Any, tmp_path: Path) -> SimpleNamespace:
    """Settings, and a function that makes a Bento of a version: its folders and its model, without the code."""
    settings = market.settings(tmp_path / "home")

    def build(name: str, version: int) -> Path:
        folder = settings.bentoml_home / "bentos" / "tradewind_toy" / name
        champion = market.settings(folder / "src", "champion").model_copy(
            update={"champion_file": folder / "src" / "champion" / "champion.json"}
        )
        bundle = market.release(champion, version, 0)
        shutil.move(bundle, folder / "src" / "champion" / str(version))
        pointer = read_pointer(champion.pointer)
        assert pointer is not None
        bento.write_pointer(champion.pointer, bento.replace(pointer, bundle=str(version)))
        (folder / "bento.yaml").write_text("name: tradewind_toy\n")
        return champion.pointer

    return SimpleNamespace(settings=settings, build=build)


def test_the_newest_bento_of_each_protected_version_and_a_served_one_stay(built: SimpleNamespace) -> None:
    names = ["v1-20260101000000", "v1-20260102000000", "v2-20260103000000", "v3-20260104000000", "v4-20260105000000"]
    pointers = [built.build(name, int(name[1])) for name in names]
    watcher = ChampionWatcher(pointers[2])
    watcher.poll()
    assert watcher.champion is not None
    protected = bento.protected_bentos(built.settings, "toy", {"1": "the champion"})
    assert protected == {names[1]: "of version 1: the champion", names[2]: "a service has its model in memory"}
    found = bento.stored_bentos(built.settings, "toy")
    assert {one.name: one.at for one in found}[names[0]] == datetime(2026, 1, 1, tzinfo=UTC)
    pruned = what_to_prune(found, protected, Limit(newest=3), datetime.now(UTC))
    assert [one.stored.name for one in pruned] == [names[0], names[3]]
    for one in pruned:
        bento.delete_bento(built.settings, "toy", one.stored.name)
    assert {one.name for one in bento.stored_bentos(built.settings, "toy")} == {names[1], names[2], names[4]}


def test_a_bento_that_was_deleted_in_part_goes_and_one_that_is_being_built_stays(built: SimpleNamespace) -> None:
    now = datetime.now(UTC)
    old, new = (f"v1-{at:%Y%m%d%H%M%S}" for at in (now - timedelta(days=1), now))
    for name in (old, new):
        built.build(name, 1)
        (built.settings.bentoml_home / "bentos" / "tradewind_toy" / name / "bento.yaml").unlink()
    pruned = what_to_prune(bento.stored_bentos(built.settings, "toy"), {}, Limit(), now)
    assert [one.stored.name for one in pruned] == [old]
