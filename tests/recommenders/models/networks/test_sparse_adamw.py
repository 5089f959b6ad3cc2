"""The optimiser of embedding tables, compared with torch's AdamW."""

from typing import Any

import pytest
import torch

from recommenders.models.networks import sparse_adamw
from recommenders.models.networks.sparse_adamw import SparseAdamW, gather_rows

WIDTH = 3


def pair(**settings: Any) -> tuple[torch.nn.Parameter, SparseAdamW, torch.nn.Parameter, torch.optim.AdamW]:
    start = torch.randn(5, WIDTH)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    return ours, SparseAdamW([ours], lr=0.1, **settings), theirs, torch.optim.AdamW([theirs], lr=0.1, **settings)


@pytest.fixture(params=["compiled", "in tensor operations"])
def update(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "compiled":
        monkeypatch.setattr(sparse_adamw, "_update_rows_compiled", sparse_adamw._update_rows)


@pytest.mark.usefixtures("update")
@pytest.mark.parametrize("settings", [{"weight_decay": 0.0}, {"weight_decay": 0.1, "betas": (0.8, 0.9)}])
def test_rows_with_a_gradient_are_updated_as_by_adamw_and_others_stay(settings: dict[str, Any]) -> None:
    ours, optimizer, theirs, reference = pair(**settings)
    start, rows = ours.detach().clone(), torch.tensor([1, 4])
    for target in torch.randn(3, 2, WIDTH):
        for one, table in ((optimizer, ours), (reference, theirs)):
            one.zero_grad()
            gathered = gather_rows(table, rows) if table is ours else table[rows]
            ((gathered - target) ** 2).sum().backward()  # type: ignore[no-untyped-call]
            one.step()
    torch.testing.assert_close(ours[rows], theirs[rows])
    assert torch.equal(ours[[0, 2, 3]], start[[0, 2, 3]])


@pytest.mark.usefixtures("update")
def test_a_dense_gradient_updates_all_rows_as_adamw_does() -> None:
    ours, optimizer, theirs, reference = pair(weight_decay=0.2)
    for one, table in ((optimizer, ours), (reference, theirs)):
        for power in (2, 4):
            one.zero_grad()
            (table**power).sum().backward()
            one.step()
    torch.testing.assert_close(ours, theirs)


def test_parts_of_a_gradient_for_the_same_row_are_summed() -> None:
    ours, optimizer, theirs, reference = pair(weight_decay=0.0)
    once, twice = torch.tensor([0, 2]), torch.tensor([2, 3])
    (gather_rows(ours, once).sum() + 3 * gather_rows(ours, twice).sum()).backward()
    (theirs[once].sum() + 3 * theirs[twice].sum()).backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.to_dense(), theirs.grad)
    optimizer.step()
    reference.step()
    torch.testing.assert_close(ours[[0, 2, 3]], theirs[[0, 2, 3]])


def test_gathered_rows_have_a_sparse_gradient() -> None:
    table = torch.nn.Parameter(torch.randn(1000, WIDTH))
    (gather_rows(table, torch.tensor([7, 900])) ** 2).sum().backward()
    assert table.grad is not None
    assert table.grad.is_sparse
    assert table.grad._nnz() == 2
    expected = 2 * table.detach()[[7, 900]]
    torch.testing.assert_close(table.grad.to_dense()[[7, 900]], expected)


def test_a_table_without_a_gradient_stays_and_its_moments_are_stored_by_name() -> None:
    ours, optimizer, *_ = pair()
    start = ours.detach().clone()
    optimizer.step()
    assert torch.equal(ours, start)
    assert not optimizer.state_dict()["state"]
    gather_rows(ours, torch.tensor([1])).sum().backward()
    optimizer.step()
    assert set(optimizer.state_dict()["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
