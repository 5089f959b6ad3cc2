"""Dropout by bytes: the number of dropped units, the scale of the kept ones, and when no unit is dropped."""

import pytest
import torch

from recommenders.models.networks.dropout import Dropout, dropout_mask, kept_unit_scale


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_the_rate_of_units_is_dropped_and_the_mean_is_kept(rate: float) -> None:
    torch.manual_seed(1)
    mask = dropout_mask(torch.empty(300, 7, 100), rate)
    assert sorted(mask.unique().tolist()) == pytest.approx([0.0, kept_unit_scale(rate)])
    assert float((mask == 0).float().mean()) == pytest.approx(rate, abs=0.004)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.02)


def test_the_seed_decides_which_units_are_dropped() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout_mask(torch.empty(50, 3), 0.5)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_some_units_are_kept_at_any_rate() -> None:
    assert dropout_mask(torch.empty(200, 200), 0.9999).any()


def test_no_unit_is_dropped_in_evaluation_mode_or_at_rate_zero() -> None:
    layer = torch.randn(5, 4)
    assert Dropout(0.5).eval()(layer) is layer
    assert Dropout(0.0)(layer) is layer
    assert not torch.equal(Dropout(0.5)(layer), layer)
