"""The world is what it says: repeatable, of the promised size, and sold by the law it states."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.b2b import write_world
from recommenders.datasets.b2b_config import WorldConfig
from recommenders.datasets.b2b_orders import NEVER, intensity, life_cycle, make_world, pair_traits, simulate
from recommenders.errors import ConfigurationError

FILES = ("buyers.parquet", "products.parquet", "order_lines.parquet")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small_world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", scale=0.05, seed=7)
    write_world(tmp_path / "other", scale=0.05, seed=8)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (small_world / name).read_bytes()
    assert (tmp_path / "other" / FILES[2]).read_bytes() != (small_world / FILES[2]).read_bytes()


def test_a_world_replaces_what_lay_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "old.txt").write_text("old")
    write_world(tmp_path / "w", scale=0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("scale", [0.0, -1.0, 11.0, float("nan")])
def test_an_impossible_scale_is_refused(scale: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must be above 0 and at most 10"):
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


def test_nothing_is_sold_before_its_launch_after_its_end_below_its_pack_or_to_an_absent_buyer(
    small_world: Path,
) -> None:
    buyers, products, lines = (pq.read_table(small_world / name) for name in FILES)
    sold = lines.join(products, "product_id").join(buyers, "buyer_id")
    for start, end in (("launched_at", "ended_at"), ("joined_at", "left_at")):
        assert pc.all(pc.less_equal(sold[start], sold["ordered_at"])).as_py()
        assert pc.all(pc.fill_null(pc.less(sold["ordered_at"], sold[end]), True)).as_py()
    packs = sold["quantity"].to_numpy() / sold["min_order_quantity"].to_numpy()
    assert (packs == packs.round()).all()
    assert packs.min() >= 1


def test_discovery_sums_to_its_share_of_an_average_order() -> None:
    world = make_world(WorldConfig.scaled(0.05, 7))
    rows = np.arange(world.config.n_buyers)
    nothing = np.full((len(rows), world.config.n_products), NEVER, dtype=np.int16)
    lines = intensity(world, rows, nothing, day=200).sum(axis=1) / world.buyers.basket
    # seasons, trends and life cycles move a single day about the year's mean
    assert lines.mean() == pytest.approx(world.config.discovery_lines, rel=0.15)


def test_what_is_not_on_sale_has_no_chance() -> None:
    world = make_world(WorldConfig.scaled(0.05, 7))
    cycle = life_cycle(world, 100)
    on_sale = (world.products.launch_day <= 100) & (world.products.end_day > 100)
    assert (np.isfinite(cycle) == on_sale).all()
    bought = np.full((1, world.config.n_products), 50, dtype=np.int16)
    assert (intensity(world, np.array([0]), bought, 100)[0, ~on_sale] == 0).all()


def test_a_staple_is_wanted_most_when_it_is_due() -> None:
    world = make_world(WorldConfig.scaled(0.05, 7))
    products = np.arange(world.config.n_products)
    strength, cycle = pair_traits(world, np.zeros_like(products), products)
    settled = (world.products.launch_day < 0) & (world.products.end_day > 400)
    staple = int(np.flatnonzero((strength > 0) & (cycle > 40) & (cycle < 100) & settled)[0])
    last = np.full((1, len(products)), NEVER, dtype=np.int16)
    last[0, staple] = 100
    due = round(100 + float(cycle[staple]))
    wish = [intensity(world, np.array([0]), last, day)[0, staple] for day in (101, due, due + 300)]
    assert wish[1] > 5 * wish[0]
    assert wish[1] > 5 * wish[2]


def test_staples_are_as_frequent_as_their_subcategory_says() -> None:
    world = make_world(WorldConfig.scaled(0.05, 7))
    buyers, products = (a.ravel() for a in np.indices((world.config.n_buyers, world.config.n_products)))
    strength, _ = pair_traits(world, buyers, products)
    expected = world.config.staple_share * world.products.consumable.mean()
    assert (strength > 0).mean() == pytest.approx(expected, abs=0.005)


def test_bought_as_often_as_the_law_says() -> None:
    """Lines of the first day, over many worlds' visits, against the Gamma's Laplace transform."""
    config = replace(WorldConfig.scaled(0.2, 3), lead_in_days=0, days=1, n_orders=300, bundle_share=0.0)
    world = make_world(config)
    lines = simulate(world)
    visited = np.unique(lines.buyer)
    nothing = np.full((len(visited), config.n_products), NEVER, dtype=np.int16)
    x = intensity(world, visited, nothing, 0).astype(np.float64)
    rest = 1 - config.size_floor
    missed = np.exp(-config.size_floor * x) * (1 + rest * x / config.size_shape) ** -config.size_shape
    expected = (1 - missed).sum()
    # sizes are shared by an order's lines, so the spread is about that of the orders' totals
    assert len(lines.buyer) == pytest.approx(expected, abs=4 * expected / len(visited) ** 0.5)
