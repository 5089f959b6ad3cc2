"""The watcher keeps the champion that it replaced last, so that a rollback loads nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.lists import precomputed


def test_after_a_rollback_the_replaced_champion_serves_without_being_loaded(market: Any, tmp_path: Path) -> None:
    settings = market.settings(tmp_path)
    bundles = {number: market.release(settings, number, number) for number in (1, 2, 3)}
    watcher = ChampionWatcher(settings.pointer)

    def serve(number: int) -> Any:
        pointer = read_pointer(settings.pointer)
        assert pointer is not None
        bundle = bundles[number]
        changed = replace(pointer, version=number, bundle=f"toy/{number}", bundle_sha256=fingerprint(bundle))
        write_pointer(settings.pointer, changed)
        watcher.poll()
        assert watcher.champion is not None
        assert not watcher.problem
        assert watcher.champion.pointer.version == number
        return watcher.champion.predictor

    first, second = serve(1), serve(2)
    assert serve(1) is first
    assert serve(2) is second
    precomputed.write(bundles[1], fingerprint(bundles[1]), first.lists)  # while another one serves
    assert serve(1) is first
    assert first.precomputed is not None
    third = serve(3)
    assert serve(1) is first
    assert serve(2) is not second  # only one is kept
    assert third.predict("3", [], 1).item_ids != first.predict("3", [], 1).item_ids


def test_another_bundle_of_the_same_number_is_loaded(market: Any, tmp_path: Path) -> None:
    settings = market.settings(tmp_path)
    market.release(settings, 1, 1)
    watcher = ChampionWatcher(settings.pointer)
    watcher.poll()
    market.release(settings, 2, 2)
    watcher.poll()
    market.release(settings, 1, 3)  # numbers begin again after a model was deleted in the registry
    watcher.poll()
    assert watcher.champion is not None
    assert watcher.champion.pointer.version == 1
    assert watcher.champion.predictor.predict("none", [], 1).item_ids == ["104"]
