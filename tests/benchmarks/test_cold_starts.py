"""Cold-start users of several markets are pooled: each user counts once, and the floor needs enough users."""

import cold_starts
import numpy as np
import pytest
from measuring.benchmark_tasks import LATER_VISITS


def ndcg_of_markets(n_users: int, popularity: float) -> list[dict[str, np.ndarray]]:
    """Two markets; the second has three times the users of the first."""
    rng = np.random.default_rng(0)
    return [
        {
            f"{LATER_VISITS}: popularity": popularity + 0.1 * rng.random(n),
            f"{LATER_VISITS}: hybrid_learned": 0.3 + 0.1 * rng.random(n),
        }
        for n in (n_users // 4, n_users - n_users // 4)
    ]


@pytest.mark.parametrize(("n_users", "popularity", "met"), [(400, 0.1, True), (400, 0.5, False), (199, 0.1, False)])
def test_the_floor_requires_enough_users_and_no_worse_flagship(n_users: int, popularity: float, met: bool) -> None:
    markets = ndcg_of_markets(n_users, popularity)
    assert cold_starts.task_names(markets) == [LATER_VISITS]
    rows = {row["what"].rpartition(": ")[2]: row for row in cold_starts.rows_of(LATER_VISITS, markets)}
    assert rows["popularity"]["floor_met"] is met
    assert f"({n_users})" in rows["popularity"]["what"]
    pooled = np.concatenate([market[f"{LATER_VISITS}: hybrid_learned"] for market in markets])
    assert rows["hybrid_learned"]["value"] == pytest.approx(pooled.mean(), abs=1e-4)
    assert rows["popularity"]["difference"][0] == pytest.approx(0.3 - popularity, abs=0.01)
