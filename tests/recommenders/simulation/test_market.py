"""The simulated market is reproducible, has the configured size, and follows its purchase model."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recommenders.errors import ConfigurationError
from recommenders.simulation import market_files as b2b
from recommenders.simulation.config import BRANDS_PER_CATEGORY, CATEGORIES, SUBCATEGORIES, WorldConfig
from recommenders.simulation.market import ANCHOR, COMPANION, SUBSTITUTE, UNPAIRED, category_of
from recommenders.simulation.market_files import write_files, write_world
from recommenders.simulation.order_sampling import list_price, simulate
from recommenders.simulation.purchase_model import World, make_world, reorder_rate, repurchase_cycles, visit_probability
from recommenders.simulation.truth import visit_purchase_probability

FILES = ("buyers.parquet", "products.parquet", "order_lines.parquet")


def test_same_seed_gives_same_bytes_and_another_seed_other_bytes(small_world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", scale=0.05, seed=7)
    write_world(tmp_path / "other", scale=0.05, seed=8)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (small_world / name).read_bytes()
    assert (tmp_path / "other" / FILES[2]).read_bytes() != (small_world / FILES[2]).read_bytes()


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(WorldConfig.scaled(0.05, 7))


def test_bytes_do_not_depend_on_the_block_size(small_world: Path, world: World, tmp_path: Path) -> None:
    for name in ("files", "blocks"):
        (tmp_path / name).mkdir()
    write_files(world, tmp_path / "files", tmp_path / "blocks", block=7)
    assert len(list((tmp_path / "blocks").iterdir())) == 15
    for name in FILES:
        assert (tmp_path / "files" / name).read_bytes() == (small_world / name).read_bytes()


def test_days_are_merged_in_order_for_any_chunk_size(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(b2b, "CHUNK", 300)
    write_world(tmp_path / "w", scale=0.05, seed=7)
    written = pq.ParquetFile(tmp_path / "w" / FILES[2])
    assert written.num_row_groups > 50
    assert written.read().equals(pq.read_table(small_world / FILES[2]))


def test_write_world_replaces_the_folder_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "old.txt").write_text("old")
    write_world(tmp_path / "w", scale=0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("scale", [0.0, -1.0, 201.0, float("nan")])
def test_invalid_scale_raises(scale: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be above 0 and at most 200"):
        write_world(tmp_path / "w", scale=scale)


def test_tables_are_consistent(small_world: Path) -> None:
    users, products, lines = (pq.read_table(small_world / name) for name in FILES)
    config = WorldConfig.scaled(0.05, 7)
    assert users["buyer_id"].to_pylist() == [str(n) for n in range(1, config.n_users + 1)]
    assert products["product_id"].to_pylist() == [str(n) for n in range(1, config.n_products + 1)]
    assert len(pc.unique(products["category"])) == 7
    assert len(pc.unique(lines["order_id"])) == config.n_orders
    assert len(set(zip(lines["order_id"].to_pylist(), lines["product_id"].to_pylist(), strict=True))) == len(lines)
    assert lines["ordered_at"].to_pylist() == sorted(lines["ordered_at"].to_pylist())
    assert str(pc.max(lines["ordered_at"]).as_py().date()) <= "2026-06-30"
    orders = lines.group_by("order_id").aggregate([("buyer_id", "count_distinct"), ("ordered_at", "count_distinct")])
    assert set(orders["buyer_id_count_distinct"].to_pylist()) == {1}
    assert set(orders["ordered_at_count_distinct"].to_pylist()) == {1}


def test_lines_respect_life_cycle_pack_size_user_lifetime_and_contract(small_world: Path) -> None:
    users, products, lines = (pq.read_table(small_world / name) for name in FILES)
    contracts = {row["buyer_id"]: {*row["closed_subcategories"], *row["closed_brands"]} for row in users.to_pylist()}
    sold = lines.join(products, "product_id").join(users.select(["buyer_id", "joined_at", "left_at"]), "buyer_id")
    for row in sold.select(["buyer_id", "subcategory", "brand"]).to_pylist():
        assert not contracts[row["buyer_id"]] & {row["subcategory"], row["brand"]}
    assert any(contracts.values())
    for start, end in (("launched_at", "ended_at"), ("joined_at", "left_at")):
        assert pc.all(pc.less_equal(sold[start], sold["ordered_at"])).as_py()
        assert pc.all(pc.fill_null(pc.less(sold["ordered_at"], sold[end]), True)).as_py()
    packs = sold["quantity"].to_numpy() / sold["min_order_quantity"].to_numpy()
    assert (packs == packs.round()).all()
    assert packs.min() >= 1


def test_discovery_rates_sum_to_discovery_lines(world: World) -> None:
    era, rows = world.eras[0], np.arange(world.config.n_users)
    lines = era.discovery_rate(rows) @ era.day_factor[200] / era.users.basket_size
    # season, trend, price and life cycle make a single day differ from the mean of the year
    assert lines.mean() == pytest.approx(world.config.discovery_lines, rel=0.15)


def test_rate_is_zero_off_sale_and_outside_the_contract(world: World) -> None:
    era, products, users = world.eras[0], world.eras[0].products, world.eras[0].users
    on_sale = (products.launch_day <= 100) & (products.end_day > 100)
    assert ((era.day_factor[100] > 0) == on_sale).all()
    everything = np.arange(world.n_products)
    cycle = np.full(world.n_products, 30, np.float32)
    again = reorder_rate(era, np.array([0]), everything, cycle, np.full(world.n_products, 70), 100)
    assert ((again > 0) == on_sale).all()
    closed = users.closed_subcategories[:, products.subcategory]
    brand = category_of(products.subcategory) * BRANDS_PER_CATEGORY + products.brand
    closed |= users.closed_brands[:, brand]
    assert ((era.discovery_rate(np.arange(world.config.n_users)) == 0) == closed).all()
    assert 0.08 < closed.mean() < 0.21  # 1 - 0.9 x 0.95 is expected


def test_reorder_rate_is_highest_one_cycle_after_the_last_purchase(world: World) -> None:
    era, cycle = world.eras[0], np.array([60], np.float32)
    staple = np.flatnonzero((era.products.launch_day < 0) & (era.products.end_day > 500))[:1]
    rate = [reorder_rate(era, np.array([0]), staple, cycle, np.array([100]), day)[0] for day in (101, 160, 460)]
    assert rate[1] > 5 * rate[0]
    assert rate[1] > 5 * rate[2]


def test_share_of_staples_is_that_of_the_subcategories(world: World) -> None:
    era = world.eras[0]
    users, products = (a.ravel() for a in np.indices((world.config.n_users, world.n_products)))
    staple, _ = repurchase_cycles(era, users, products)
    assert staple.mean() == pytest.approx(world.config.staple_share * era.products.consumable.mean(), abs=0.005)


def test_groups_are_pairs(world: World) -> None:
    role, partner = world.eras[0].products.role, world.eras[0].products.partner
    numbers = np.flatnonzero(role != UNPAIRED)
    assert (partner[partner[numbers]] == numbers).all()
    assert (partner[role == UNPAIRED] == -1).all()
    for left, right in ((ANCHOR, COMPANION), (COMPANION, ANCHOR), (SUBSTITUTE, SUBSTITUTE)):
        assert (role[partner[role == left]] == right).all()
    subcategory = world.eras[0].products.subcategory
    substitutes = role == SUBSTITUTE
    assert (subcategory[partner[substitutes]] == subcategory[substitutes]).all()
    assert substitutes.mean() == pytest.approx(world.config.substitute_share, abs=0.04)


def test_orders_never_hold_both_substitutes_but_often_both_products_of_a_bundle(world: World) -> None:
    products, lines = world.eras[0].products, simulate(world, np.arange(world.config.n_users))
    order = lines["user"].astype(np.int64) << 16 | lines["day"]
    held = set(zip(order.tolist(), lines["product"].tolist(), strict=True))
    beside = [(o, int(products.partner[p])) in held for o, p in held if products.role[p] == SUBSTITUTE]
    assert len(beside) > 100
    assert not any(beside)
    with_anchor = [(o, int(products.partner[p])) in held for o, p in held if products.role[p] == ANCHOR]
    assert np.mean(with_anchor) > 0.8 * world.config.bundle_probability


def test_unit_price_is_the_list_price_of_the_week_less_the_discount(world: World) -> None:
    lines = simulate(world, np.arange(world.config.n_users))
    list_prices = list_price(world, lines["product"], lines["day"])
    packs = lines["quantity"] / world.eras[0].products.min_order_quantity[lines["product"]]
    discount = np.select([packs >= 20, packs >= 5], [0.9, 0.95], 1.0)
    np.testing.assert_allclose(lines["unit_price"], list_prices * discount, atol=0.0051)
    level = list_prices / world.eras[0].products.price[lines["product"]]
    assert level.min() < 0.9  # promotions and reviews
    assert level.max() > 1.05


def test_higher_prices_lower_demand() -> None:
    config = WorldConfig(n_users=50, n_products=126, price_elasticity=2.0, elasticity_spread=0.0)
    era = make_world(config).eras[0]
    cheap, dear = era.products.log_price.argmin(axis=0), era.products.log_price.argmax(axis=0)
    everything = np.arange(126)
    step = era.products.log_price[dear, everything] - era.products.log_price[cheap, everything]
    ratio = era.demand_factor[cheap, everything] / era.demand_factor[dear, everything]
    np.testing.assert_allclose(ratio, np.exp(2.0 * step), rtol=1e-4)


def test_purchase_frequency_matches_the_model() -> None:
    """Number of lines on the first day, over many visits, against the Laplace transform of the Gamma distribution."""
    config = replace(
        WorldConfig.scaled(0.2, 3), lead_in_days=0, days=1, n_orders=300, bundle_share=0.0, substitute_share=0.0
    )
    world = make_world(config)
    lines = simulate(world, np.arange(config.n_users))
    visited = np.unique(lines["user"]).astype(np.int64)
    expected = float(
        visit_purchase_probability(config, world.eras[0].discovery_rate(visited) * world.eras[0].day_factor[0]).sum()
    )
    # lines of one order share its size, so the spread is about that of the order totals
    assert len(lines) == pytest.approx(expected, abs=4 * expected / len(visited) ** 0.5)


def test_expected_orders_match_the_configuration_and_inactive_users_never_visit(world: World) -> None:
    days = np.arange(world.config.n_days)
    p_visit = visit_probability(world, np.arange(world.config.n_users), days)
    assert p_visit[:, world.config.lead_in_days :].sum() == pytest.approx(world.config.n_orders, rel=0.01)
    users = world.eras[0].users
    absent = (days < users.join_day[:, None]) | (days >= users.leave_day[:, None])
    assert (p_visit[absent] == 0).all()
    assert (p_visit[~absent] > 0).all()


def test_catalogue_has_seven_categories_with_subcategories() -> None:
    assert len(CATEGORIES) == 7
    assert len(set(SUBCATEGORIES)) == 42


def test_documented_parameters_match_the_configuration() -> None:
    page = (Path(__file__).parents[3] / "docs" / "world.md").read_text()
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ([0-9., ]+) \|", page, re.MULTILINE)
    documented = [pair for names, values in rows for pair in zip(names.split(", "), values.split(", "), strict=True)]
    assert len(documented) >= 10
    for name, value in documented:
        assert getattr(WorldConfig(), name.strip("`")) == float(value)
