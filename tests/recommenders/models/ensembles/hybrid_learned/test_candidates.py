"""The features of candidates are those of the tables that the platform shows."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.events.interactions import Interactions
from recommenders.features.items import encode_items_as_of
from recommenders.features.ranking import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES
from recommenders.features.tables import item_features, pair_features, user_features
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ials import model as ials_model
from recommenders.models.ials.model import IALS
from recommenders.models.popularity import Popularity
from recommenders.splitting.temporal import training_log
from recommenders.splitting.windows import windows
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
PROTOCOL = Protocol(split="time_cut", test_days=20)
N_ITEMS = 12


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """Two events a day over 120 days. All items are sold in the first days; some users come later."""
    rng = np.random.default_rng(0)
    items = [*range(N_ITEMS), *rng.integers(0, N_ITEMS, 240 - N_ITEMS).tolist()]
    rows = {
        "user_id": [f"u{rng.integers(0, 5 + place // 20):02}" for place in range(240)],
        "item_id": [f"i{item:02}" for item in items],
        "timestamp": [START + timedelta(days=place // 2) for place in range(240)],
        "event": ["purchase"] * 240,
        "weight": rng.integers(1, 4, 240).astype(float).tolist(),
    }
    return schema.conform(pa.table(rows), schema.INTERACTIONS, "events")


@pytest.fixture(scope="module")
def items() -> pa.Table:
    """Each item has a category, and another one after the first of March."""
    later = START + timedelta(days=59)
    rows = [
        {"item_id": f"i{item:02}", "category": f"c{(item + (valid is not None)) % 3}", "valid_from": valid}
        for item in range(N_ITEMS)
        for valid in (None, later)
    ]
    return schema.conform(pa.Table.from_pylist(rows), schema.ITEMS, "items")


def until(table: pa.Table, moment: datetime) -> pa.Table:
    return table.filter(pc.less_equal(table["timestamp"], pa.scalar(moment, schema.TIME)))


def test_the_ranker_reads_in_each_window_what_the_tables_show_at_the_same_cut(
    events: pa.Table, items: pa.Table
) -> None:
    log = training_log(events, items, PROTOCOL, START + timedelta(days=120))
    logs = [log, *(window.log for window in windows(log, 3, 20.0))]
    assert len(logs) == 4
    for earlier in logs:
        cut = earlier.last_event
        shown = training_log(until(events, cut), items, PROTOCOL, cut)
        assert shown.items.ids.tolist() == earlier.items.ids.tolist()
        check_equal(earlier, shown, items)


def check_equal(earlier: Interactions, shown: Interactions, items: pa.Table) -> None:
    """The features of all users and their candidates, by names, are those of the tables of the log `shown`."""
    vectors = encode_items_as_of(items, earlier.items, earlier.last_event)
    base_models = {"popularity": Popularity().fit(earlier)}
    candidates = Candidates.from_log(HybridLearnedConfig(), base_models, earlier, vectors)
    users = earlier.users.rows(shown.users.ids)
    histories = earlier.histories()[users]
    base_scores, columns = candidates.propose(users, histories, N_ITEMS, earlier.available, False)
    found = dict(
        zip(candidates.feature_names(), candidates.features(users, histories, columns, base_scores).T, strict=True)
    )
    rows, places = np.nonzero(columns >= 0)
    items_of_pairs = columns[rows, places]
    by_item, by_user = item_features(shown, items), user_features(shown, schema.USERS.empty_table())
    for table, place, names in ((by_item, items_of_pairs, ITEM_FEATURES), (by_user, rows, USER_FEATURES)):
        for name in names:
            np.testing.assert_array_equal(found[name], table[name].to_numpy()[place], err_msg=name)
    table = pair_features(shown, items, np.arange(len(shown.users)))
    known_users, known_items = shown.users.rows(table["user_id"].to_pylist()), table["item_id"].to_pylist()
    place_of = {pair: place for place, pair in enumerate(zip(rows, items_of_pairs, strict=True))}
    chosen = [place_of[pair] for pair in zip(known_users, shown.items.rows(known_items), strict=True)]
    for name in PAIR_FEATURES:
        np.testing.assert_array_equal(found[name][chosen], table[name].to_numpy(), err_msg=name)


def test_in_a_large_catalogue_ials_scores_the_candidates_of_the_others(
    events: pa.Table, items: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = training_log(events, items, PROTOCOL, START + timedelta(days=120))
    base_models = {"popularity": Popularity().fit(log), "ials": IALS().fit(log)}
    candidates = Candidates.from_log(HybridLearnedConfig(n_candidates=2), base_models, log, None)
    users, histories = np.arange(3, dtype=np.int32), log.histories()[np.arange(3)]
    both, proposed_by_both = candidates.propose(users, histories, 1, log.available, False)
    assert both.names == ["popularity", "ials"]

    monkeypatch.setattr(ials_model, "MAX_CHEAP_FACTORS", base_models["ials"].item_factors_.size - 1)
    base_scores, columns = candidates.propose(users, histories, 1, log.available, False)
    assert base_scores.names == ["popularity"]
    best = base_models["popularity"].recommend(users, histories, 10, log.available, False).item_columns
    np.testing.assert_array_equal(np.sort(best, axis=1), columns)  # REFERENCE items, as many as are proposed at least
    assert columns.shape[1] < proposed_by_both.shape[1]
    found = candidates.features(users, histories, columns, base_scores)[:, candidates.feature_names().index("ials")]
    expected = base_models["ials"].score_items(users, histories, columns)
    for row, of_user in zip(expected, found.reshape(expected.shape), strict=True):
        assert len(np.unique(of_user)) > 1
        np.testing.assert_array_equal(np.argsort(of_user, kind="stable"), np.argsort(row, kind="stable"))


def test_each_mask_of_allowed_items_leaves_out_its_own(events: pa.Table, items: pa.Table) -> None:
    log = training_log(events, items, PROTOCOL, START + timedelta(days=120))
    candidates = Candidates.from_log(HybridLearnedConfig(), {"popularity": Popularity().fit(log)}, log, None)
    users, histories = np.arange(1, dtype=np.int32), log.histories()[[0]]
    masks = [np.arange(N_ITEMS) % 2 == odd for odd in (0, 1)]
    for place in (0, 1, 1, 0, 1):  # the columns of the newest mask are remembered
        _, columns = candidates.propose(users, histories, 1, masks[place], False)
        assert columns[0].tolist() == np.flatnonzero(masks[place]).tolist()
