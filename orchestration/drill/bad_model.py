"""Forces a bad model past the gate: one that mixed up its item ids, as a wrong join does."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestration.settings import Settings
from recommenders.features.items import encode_items_as_of
from recommenders.splitting.temporal import training_log
from recommenders.training.fitting import fit_with_base_models
from serving.release.registry import Registry


def force_bad_model(settings: Settings, seed: int) -> int:
    """Registers it and makes it the champion; returns its number. The champion before it must have been published."""
    registry, name = Registry(settings), settings.dataset
    champion = registry.champion(name)
    assert champion is not None
    items = settings.tables.read("items")
    log = training_log(mixed_up(settings.tables.read("interactions"), seed), items, settings.spec.protocol)
    vectors = encode_items_as_of(items, log.items, log.last_event)
    model = fit_with_base_models(champion.model, settings.training, log, vectors)
    with tempfile.TemporaryDirectory() as folder:
        version = registry.publish(name, model.save(Path(folder) / "bundle"), champion.run_id, champion.tags)
    registry.promote(name, version.number, {"promote": True, "forced": "a drill"})
    return version.number


def mixed_up(interactions: pa.Table, seed: int) -> pa.Table:
    """The log with the ids of its items exchanged at random."""
    encoded = interactions["item_id"].combine_chunks().dictionary_encode()
    shuffled = np.random.default_rng(seed).permutation(len(encoded.dictionary))
    ids = encoded.dictionary.take(pa.array(shuffled)).take(encoded.indices)
    return interactions.set_column(interactions.schema.get_field_index("item_id"), "item_id", ids)
