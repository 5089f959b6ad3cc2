"""Each scenario has its effect from its start day on, and none before."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.all_datasets import dataset
from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.simulation.config import SUBCATEGORIES, Scenario, ScenarioKind, WorldConfig
from recommenders.simulation.market_files import write_world
from recommenders.simulation.order_sampling import simulate
from recommenders.simulation.purchase_model import World, make_world
from recommenders.simulation.truth import history, purchase_probability

DAY = date(2026, 3, 1)
START_TIME = datetime(2026, 3, 1, tzinfo=UTC)
CONFIG = WorldConfig.scaled(0.05, 7)
STRENGTHS: dict[ScenarioKind, float] = {
    "demand_shift": 1.0,
    "price_inflation": 0.4,
    "new_items": 0.1,
    "churn": 0.5,
    "taste_permutation": 1.0,
}


def with_one(kind: ScenarioKind, config: WorldConfig = CONFIG) -> World:
    return make_world(replace(config, scenarios=(Scenario(kind, DAY, STRENGTHS[kind]),)))


@pytest.mark.parametrize("kind", STRENGTHS)
def test_log_before_the_start_day_is_unchanged(kind: ScenarioKind, small_world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "w", 0.05, 7, (Scenario(kind, DAY, STRENGTHS[kind]),))
    plain, other = (pq.read_table(folder / "order_lines.parquet") for folder in (small_world, tmp_path / "w"))
    is_before = pc.less(plain["ordered_at"], pa.scalar(START_TIME))
    n = pc.sum(is_before).as_py()
    assert 0 < n < len(plain)
    assert other.slice(0, n).equals(plain.slice(0, n))
    assert pc.min(other["ordered_at"].slice(n)).as_py() >= START_TIME
    assert not other.slice(n).equals(plain.slice(n))


def test_demand_shift_changes_whole_subcategories() -> None:
    era = with_one("demand_shift").eras[1]
    demand = np.array([era.products.demand[era.products.subcategory == s] for s in range(len(SUBCATEGORIES))], object)
    assert all(len(set(values.tolist())) == 1 for values in demand)
    assert np.std([values[0] for values in demand]) == pytest.approx(1.0, rel=0.3)
    assert np.isfinite(era.demand_factor).all()


def test_inflation_raises_unit_prices_and_lowers_sales() -> None:
    plain, dear = make_world(CONFIG), with_one("price_inflation")
    day, rows = CONFIG.day(DAY), np.arange(CONFIG.n_users)
    before, after = (world.era(day + 60) for world in (plain, dear))
    np.testing.assert_allclose(
        after.demand_factor[0] / before.demand_factor[0], 1.4**-before.products.elasticity, rtol=1e-4
    )
    sold = [simulate(world, rows) for world in (plain, dear)]
    late = [lines[lines["day"] >= day] for lines in sold]
    paid = [
        np.log(lines["unit_price"] / world.eras[-1].products.price[lines["product"]]).mean()
        for world, lines in zip((plain, dear), late, strict=True)
    ]
    assert paid[1] - paid[0] == pytest.approx(np.log(1.4), abs=0.02)
    assert len(late[1]) < 0.85 * len(late[0])


def test_new_items_are_launched_and_sold() -> None:
    world, day = with_one("new_items"), CONFIG.day(DAY)
    first, last = world.eras[0].products, world.eras[1].products
    new = np.arange(CONFIG.n_products, world.n_products)
    assert len(new) == round(0.1 * CONFIG.n_products)
    assert len(first.price) == CONFIG.n_products
    assert ((last.launch_day[new] >= day) & (last.launch_day[new] < day + 14)).all()
    lines = simulate(world, np.arange(CONFIG.n_users))
    of_new = lines[lines["product"] >= CONFIG.n_products]
    assert (of_new["day"] >= last.launch_day[of_new["product"]]).all()
    assert 0.02 < len(of_new) / (lines["day"] >= day).sum() < 0.2


def test_churned_users_leave_within_a_month() -> None:
    world, day = with_one("churn"), CONFIG.day(DAY)
    before, after = (era.users for era in world.eras)
    here = (before.join_day < day) & (before.leave_day > day + 30)
    left = (after.leave_day != before.leave_day) & here
    assert 0.35 < left.sum() / here.sum() < 0.65
    assert ((after.leave_day[left] >= day) & (after.leave_day[left] < day + 30)).all()
    lines = simulate(world, np.arange(CONFIG.n_users))
    assert not (lines["day"] >= after.leave_day[lines["user"]]).any()


def test_taste_permutation_keeps_popularity_but_makes_the_old_oracle_worse() -> None:
    config = WorldConfig(n_users=600, n_products=126, n_orders=7_500, seed=3)
    changed, day = with_one("taste_permutation", config), config.day(DAY)
    plain = make_world(config)
    rows = np.arange(config.n_users)
    here = (plain.eras[0].users.join_day <= day) & (day < plain.eras[0].users.leave_day)
    moved = (changed.eras[1].users.taste != plain.eras[0].users.taste).any(axis=1)
    assert (moved == here).all()
    sales = [(w.era(day).users.visits_a_day @ w.era(day).discovery_rate(rows))[None] for w in (plain, changed)]
    assert np.corrcoef(*np.log(np.concatenate(sales)))[0, 1] > 0.97
    past = history(plain, rows, START_TIME)
    old, new = (purchase_probability(world, past, 30) for world in (plain, changed))
    assert np.corrcoef(old.sum(axis=0), new.sum(axis=0))[0, 1] > 0.97
    lists = [np.argsort(-p, axis=1)[:, :10] for p in (old, new)]
    hits = [np.take_along_axis(new, best, axis=1)[here].sum() for best in lists]
    assert hits[0] < 0.9 * hits[1]


def test_broken_feed_damages_the_files_but_not_the_world(small_world: Path, tmp_path: Path) -> None:
    scenario = Scenario("broken_feed", DAY, 0.3)
    write_world(tmp_path / "w", 0.05, 7, (scenario,))
    plain, broken = (pq.read_table(folder / "order_lines.parquet") for folder in (small_world, tmp_path / "w"))
    n = pc.sum(pc.less(plain["ordered_at"], pa.scalar(START_TIME))).as_py()
    assert broken.slice(0, n).equals(plain.slice(0, n))
    hit, whole = broken.slice(n), plain.slice(n)
    share = 0.3 / 3
    assert hit["unit_price"].null_count / len(whole) == pytest.approx(share, abs=0.02)
    assert len(hit) / len(whole) == pytest.approx(1 + share, abs=0.02)
    tables = dataset("custom_b2b").read(tmp_path / "w")
    assert set(tables.quarantine["reason"].to_pylist()) == {"unit_price is not above 0"}
    assert tables.counts.merged == len(hit) - len(whole)
    assert tables.items["category"].null_count / tables.items.num_rows == pytest.approx(0.3, abs=0.05)
    wrong = pc.sum(pc.greater(hit["unit_price"], 2 * pc.max(plain["unit_price"]).as_py() / 2)).as_py()
    assert wrong > 0
    assert len(make_world(replace(CONFIG, scenarios=(scenario,))).eras) == 1


def test_invalid_scenarios_raise() -> None:
    with pytest.raises(UnknownNameError, match="unknown scenario 'flood'; choose from broken_feed, churn"):
        Scenario("flood", DAY, 1.0)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"strength of the scenario churn is 1.5; it must be above 0 and at mo"
    ):
        Scenario("churn", DAY, 1.5)
    with pytest.raises(ConfigurationError, match="the world has no day 2031-01-01; choose from"):
        replace(CONFIG, scenarios=(Scenario("broken_feed", date(2031, 1, 1), 0.5),))
