"""The lists of held-out users from which hybrid_learned learns its calibration."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.models.calibration import BANDS
from recommenders.models.ensembles.hybrid_learned.score_rules import ValidationUsers
from recommenders.models.ensembles.hybrid_learned.validation import _lists

N_ITEMS = 120
BOUGHT_BEFORE = 3  # items 0, 1 and 2


@pytest.fixture
def users() -> ValidationUsers:
    """Two users with all items as candidates, best last; both bought the items 0 to 2 before, and 1 and 119 after."""
    columns = np.tile(np.arange(N_ITEMS, dtype=np.int32), (2, 1))
    known, relevant = np.zeros((2, N_ITEMS), np.float32), np.zeros((2, N_ITEMS), np.float32)
    known[:, :BOUGHT_BEFORE] = 1
    relevant[:, [1, N_ITEMS - 1]] = 1
    return ValidationUsers(columns, np.zeros((2 * N_ITEMS, 1), np.float32), csr_array(known), csr_array(relevant))


def made(users: ValidationUsers, known: bool, repeat: bool, sign: int = 1) -> dict[str, Any]:
    scores = np.tile(sign * np.arange(N_ITEMS, dtype=np.float32), 2)
    return dict(_lists(scores, users, known, repeat))


def lengths(lists: dict[str, Any]) -> dict[str, int]:
    return {kind: int((~np.isneginf(found.scores)).sum(axis=1)[0]) for kind, found in lists.items()}


def test_known_users_have_lists_of_all_of_bought_and_of_new_items(users: ValidationUsers) -> None:
    lists = made(users, known=True, repeat=True)
    n_new = min(N_ITEMS - BOUGHT_BEFORE, BANDS[-1])
    assert lengths(lists) == {"all": BANDS[-1], "reorder": BOUGHT_BEFORE, "discovery": n_new}
    assert lists["reorder"].bought[0, :3].tolist() == [False, True, False]  # items 2, 1, 0
    assert lists["discovery"].bought[0].tolist() == [True] + [False] * (BANDS[-1] - 1)  # item 119 first


def test_where_users_do_not_buy_again_there_are_lists_of_new_items_only(users: ValidationUsers) -> None:
    for known, kind in ((True, "all"), (False, "cold_start")):
        lists = made(users, known, repeat=False)
        assert list(lists) == [kind]
        assert lists[kind].scores.min() >= BOUGHT_BEFORE


def test_cold_start_users_have_one_list(users: ValidationUsers) -> None:
    lists = made(users, known=False, repeat=True, sign=-1)
    assert lengths(lists) == {"cold_start": BANDS[-1]}
    assert lists["cold_start"].scores[0, 0] == 0  # item 0, which they have, is in the list
