"""The world is what it says: repeatable, of the promised size, and sold by the law it states."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recommenders.errors import ConfigurationError
from recommenders.simulation import files as b2b
from recommenders.simulation.config import BRANDS_PER_CATEGORY, CATEGORIES, SUBCATEGORIES, WorldConfig
from recommenders.simulation.demand import list_price, simulate
from recommenders.simulation.files import write_files, write_world
from recommenders.simulation.market import ALONE, ANCHOR, COMPANION, SUBSTITUTE, category_of
from recommenders.simulation.orders import World, make_world, pair_traits, reorder_wish, visit_probability
from recommenders.simulation.truth import bought_probability

FILES = ("buyers.parquet", "products.parquet", "order_lines.parquet")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small_world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", scale=0.05, seed=7)
    write_world(tmp_path / "other", scale=0.05, seed=8)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (small_world / name).read_bytes()
    assert (tmp_path / "other" / FILES[2]).read_bytes() != (small_world / FILES[2]).read_bytes()


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(WorldConfig.scaled(0.05, 7))


def test_bytes_do_not_depend_on_how_many_buyers_are_simulated_at_once(
    small_world: Path, world: World, tmp_path: Path
) -> None:
    for name in ("files", "blocks"):
        (tmp_path / name).mkdir()
    write_files(world, tmp_path / "files", tmp_path / "blocks", block=7)
    assert len(list((tmp_path / "blocks").iterdir())) == 15
    for name in FILES:
        assert (tmp_path / "files" / name).read_bytes() == (small_world / name).read_bytes()


def test_days_are_merged_in_order_whatever_fits_at_once(
    small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(b2b, "CHUNK", 300)
    write_world(tmp_path / "w", scale=0.05, seed=7)
    written = pq.ParquetFile(tmp_path / "w" / FILES[2])
    assert written.num_row_groups > 50
    assert written.read().equals(pq.read_table(small_world / FILES[2]))


def test_a_world_replaces_what_lay_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "old.txt").write_text("old")
    write_world(tmp_path / "w", scale=0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("scale", [0.0, -1.0, 201.0, float("nan")])
def test_an_impossible_scale_is_refused(scale: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be above 0 and at most 200"):
        write_world(tmp_path / "w", scale=scale)


def test_the_tables_fit_together(small_world: Path) -> None:
    buyers, products, lines = (pq.read_table(small_world / name) for name in FILES)
    config = WorldConfig.scaled(0.05, 7)
    assert buyers["buyer_id"].to_pylist() == [str(n) for n in range(1, config.n_buyers + 1)]
    assert products["product_id"].to_pylist() == [str(n) for n in range(1, config.n_products + 1)]
    assert len(pc.unique(products["category"])) == 7
    assert len(pc.unique(lines["order_id"])) == config.n_orders
    assert len(set(zip(lines["order_id"].to_pylist(), lines["product_id"].to_pylist(), strict=True))) == len(lines)
    assert lines["ordered_at"].to_pylist() == sorted(lines["ordered_at"].to_pylist())
    assert str(pc.max(lines["ordered_at"]).as_py().date()) <= "2026-06-30"
    orders = lines.group_by("order_id").aggregate([("buyer_id", "count_distinct"), ("ordered_at", "count_distinct")])
    assert set(orders["buyer_id_count_distinct"].to_pylist()) == {1}
    assert set(orders["ordered_at_count_distinct"].to_pylist()) == {1}


def test_nothing_is_sold_outside_its_life_its_pack_its_buyers_stay_or_contract(small_world: Path) -> None:
    buyers, products, lines = (pq.read_table(small_world / name) for name in FILES)
    contracts = {row["buyer_id"]: {*row["closed_subcategories"], *row["closed_brands"]} for row in buyers.to_pylist()}
    sold = lines.join(products, "product_id").join(buyers.select(["buyer_id", "joined_at", "left_at"]), "buyer_id")
    for row in sold.select(["buyer_id", "subcategory", "brand"]).to_pylist():
        assert not contracts[row["buyer_id"]] & {row["subcategory"], row["brand"]}
    assert any(contracts.values())
    for start, end in (("launched_at", "ended_at"), ("joined_at", "left_at")):
        assert pc.all(pc.less_equal(sold[start], sold["ordered_at"])).as_py()
        assert pc.all(pc.fill_null(pc.less(sold["ordered_at"], sold[end]), True)).as_py()
    packs = sold["quantity"].to_numpy() / sold["min_order_quantity"].to_numpy()
    assert (packs == packs.round()).all()
    assert packs.min() >= 1


def test_discovery_sums_to_its_share_of_an_average_order(world: World) -> None:
    era, rows = world.eras[0], np.arange(world.config.n_buyers)
    lines = era.wish(rows) @ era.discovery[200] / era.buyers.basket
    # seasons, trends, prices and life cycles move a single day about the year's mean
    assert lines.mean() == pytest.approx(world.config.discovery_lines, rel=0.15)


def test_what_is_not_on_sale_or_not_in_the_contract_has_no_chance(world: World) -> None:
    era, products, buyers = world.eras[0], world.eras[0].products, world.eras[0].buyers
    on_sale = (products.launch_day <= 100) & (products.end_day > 100)
    assert ((era.discovery[100] > 0) == on_sale).all()
    everything = np.arange(world.n_products)
    cycle = np.full(world.n_products, 30, np.float32)
    again = reorder_wish(era, np.array([0]), everything, cycle, np.full(world.n_products, 70), 100)
    assert ((again > 0) == on_sale).all()
    closed = buyers.closed_subcategories[:, products.subcategory]
    brand = category_of(products.subcategory) * BRANDS_PER_CATEGORY + products.brand
    closed |= buyers.closed_brands[:, brand]
    assert ((era.wish(np.arange(world.config.n_buyers)) == 0) == closed).all()
    assert 0.08 < closed.mean() < 0.21  # 1 - 0.9 x 0.95 is expected


def test_a_staple_is_wanted_most_when_it_is_due(world: World) -> None:
    era, cycle = world.eras[0], np.array([60], np.float32)
    staple = np.flatnonzero((era.products.launch_day < 0) & (era.products.end_day > 500))[:1]
    wish = [reorder_wish(era, np.array([0]), staple, cycle, np.array([100]), day)[0] for day in (101, 160, 460)]
    assert wish[1] > 5 * wish[0]
    assert wish[1] > 5 * wish[2]


def test_staples_are_as_frequent_as_their_subcategory_says(world: World) -> None:
    era = world.eras[0]
    buyers, products = (a.ravel() for a in np.indices((world.config.n_buyers, world.n_products)))
    staple, _ = pair_traits(era, buyers, products)
    assert staple.mean() == pytest.approx(world.config.staple_share * era.products.consumable.mean(), abs=0.005)


def test_groups_are_of_two(world: World) -> None:
    role, partner = world.eras[0].products.role, world.eras[0].products.partner
    numbers = np.flatnonzero(role != ALONE)
    assert (partner[partner[numbers]] == numbers).all()
    assert (partner[role == ALONE] == -1).all()
    for left, right in ((ANCHOR, COMPANION), (COMPANION, ANCHOR), (SUBSTITUTE, SUBSTITUTE)):
        assert (role[partner[role == left]] == right).all()
    subcategory = world.eras[0].products.subcategory
    substitutes = role == SUBSTITUTE
    assert (subcategory[partner[substitutes]] == subcategory[substitutes]).all()
    assert substitutes.mean() == pytest.approx(world.config.substitute_share, abs=0.04)


def test_no_order_holds_both_substitutes_but_many_both_of_a_bundle(world: World) -> None:
    products, lines = world.eras[0].products, simulate(world, np.arange(world.config.n_buyers))
    order = lines["buyer"].astype(np.int64) << 16 | lines["day"]
    held = set(zip(order.tolist(), lines["product"].tolist(), strict=True))
    beside = [(o, int(products.partner[p])) in held for o, p in held if products.role[p] == SUBSTITUTE]
    assert len(beside) > 100
    assert not any(beside)
    with_anchor = [(o, int(products.partner[p])) in held for o, p in held if products.role[p] == ANCHOR]
    assert np.mean(with_anchor) > 0.8 * world.config.bundle_probability


def test_a_line_pays_the_weeks_price_less_its_discount(world: World) -> None:
    lines = simulate(world, np.arange(world.config.n_buyers))
    asked = list_price(world, lines["product"], lines["day"])
    packs = lines["quantity"] / world.eras[0].products.min_order_quantity[lines["product"]]
    discount = np.select([packs >= 20, packs >= 5], [0.9, 0.95], 1.0)
    np.testing.assert_allclose(lines["unit_price"], asked * discount, atol=0.0051)
    level = asked / world.eras[0].products.price[lines["product"]]
    assert level.min() < 0.9  # promotions and reviews
    assert level.max() > 1.05


def test_dear_weeks_sell_less() -> None:
    calm = WorldConfig(n_buyers=50, n_products=126, price_elasticity=2.0, elasticity_spread=0.0)
    era = make_world(calm).eras[0]
    cheap, dear = era.products.log_price.argmin(axis=0), era.products.log_price.argmax(axis=0)
    everything = np.arange(126)
    step = era.products.log_price[dear, everything] - era.products.log_price[cheap, everything]
    ratio = era.appeal[cheap, everything] / era.appeal[dear, everything]
    np.testing.assert_allclose(ratio, np.exp(2.0 * step), rtol=1e-4)


def test_bought_as_often_as_the_law_says() -> None:
    """Lines of the first day, over many visits, against the Gamma's Laplace transform."""
    config = replace(
        WorldConfig.scaled(0.2, 3), lead_in_days=0, days=1, n_orders=300, bundle_share=0.0, substitute_share=0.0
    )
    world = make_world(config)
    lines = simulate(world, np.arange(config.n_buyers))
    visited = np.unique(lines["buyer"]).astype(np.int64)
    expected = float(bought_probability(config, world.eras[0].wish(visited) * world.eras[0].discovery[0]).sum())
    # sizes are shared by an order's lines, so the spread is about that of the orders' totals
    assert len(lines) == pytest.approx(expected, abs=4 * expected / len(visited) ** 0.5)


def test_as_many_orders_as_asked_for_and_none_of_the_absent(world: World) -> None:
    days = np.arange(world.config.n_days)
    chance = visit_probability(world, np.arange(world.config.n_buyers), days)
    assert chance[:, world.config.lead_in_days :].sum() == pytest.approx(world.config.n_orders, rel=0.01)
    buyers = world.eras[0].buyers
    absent = (days < buyers.join_day[:, None]) | (days >= buyers.leave_day[:, None])
    assert (chance[absent] == 0).all()
    assert (chance[~absent] > 0).all()


def test_the_catalogue_has_seven_categories_each_with_subcategories() -> None:
    assert len(CATEGORIES) == 7
    assert len(set(SUBCATEGORIES)) == 42


def test_the_page_tells_the_parameters_as_they_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "world.md").read_text()
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ([0-9., ]+) \|", page, re.MULTILINE)
    told = [pair for names, values in rows for pair in zip(names.split(", "), values.split(", "), strict=True)]
    assert len(told) >= 10
    for name, value in told:
        assert getattr(WorldConfig(), name.strip("`")) == float(value)
