"""Dropout by bytes: how many units go, what makes up for them, and when nothing happens."""

import pytest
import torch

from recommenders.models.networks.dropout import Dropout, made_up_by, units_left


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_a_share_of_the_units_goes_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(1)
    left = units_left(torch.empty(300, 7, 100), share)
    assert sorted(left.unique().tolist()) == pytest.approx([0.0, made_up_by(share)])
    assert float((left == 0).float().mean()) == pytest.approx(share, abs=0.004)
    assert float(left.mean()) == pytest.approx(1.0, abs=0.02)


def test_the_same_seed_drops_the_same_units_and_another_others() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return units_left(torch.empty(50, 3), 0.5)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_some_are_left_however_large_the_share() -> None:
    assert units_left(torch.empty(200, 200), 0.9999).any()


def test_nothing_is_dropped_while_answering_or_without_a_share() -> None:
    layer = torch.randn(5, 4)
    assert Dropout(0.5).eval()(layer) is layer
    assert Dropout(0.0)(layer) is layer
    assert not torch.equal(Dropout(0.5)(layer), layer)
