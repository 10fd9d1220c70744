"""Which hidden units stay in a narrower network, and how they make up for those that go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowkd.distillation.warmstart.select import largest, most_telling

UNITS = 9


def problem(seed: int) -> tuple[Tensor, Tensor]:
    """Mean products of hidden units that depend on each other, and what is read from them."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(UNITS, UNITS, generator=generator, dtype=torch.float64)
    rows = torch.relu(torch.randn(200, UNITS, generator=generator, dtype=torch.float64) @ mixed)
    read = torch.randn(3, UNITS, generator=generator, dtype=torch.float64)
    return rows.T @ rows / len(rows), read


def error(products: Tensor, read: Tensor, keep: list[int]) -> float:
    """Mean square of what the best linear fit from the units that stay leaves of what is read."""
    inner = torch.linalg.solve(products[keep][:, keep], products[keep])
    left = read @ (products - products[:, keep] @ inner) @ read.T
    return left.trace().item()


@pytest.mark.parametrize("seed", range(5))
def test_units_are_those_of_a_greedy_search_by_hand(seed: int) -> None:
    products, read = problem(seed)
    keep: list[int] = []
    for count in range(1, UNITS):
        left = [unit for unit in range(UNITS) if unit not in keep]
        keep.append(min(left, key=lambda unit: error(products, read, [*keep, unit])))
        kept, rebuild = most_telling(products, read, count)
        assert kept.tolist() == sorted(keep)
        assert torch.equal(rebuild[kept], torch.eye(count).double())
        left_over = torch.eye(UNITS).double() - torch.zeros_like(products).index_copy(
            1, kept, rebuild
        )
        found = (read @ left_over @ products @ left_over.T @ read.T).trace().item()
        best = error(products, read, keep)
        assert best <= found < 1.01 * best + 1e-3 * error(products, read, [0])


@pytest.mark.parametrize("read", [0.0, 1.0], ids=["nothing", "all alike"])
@pytest.mark.parametrize("products", [torch.ones(4, 4), torch.eye(4)], ids=["one", "unlike"])
def test_no_unit_is_kept_twice(products: Tensor, read: float) -> None:
    kept, rebuild = most_telling(products.double(), torch.full((2, 4), read).double(), 3)
    assert len(set(kept.tolist())) == 3
    assert torch.isfinite(rebuild).all()


def test_of_units_that_are_all_silent_some_stay_and_rebuild_nothing() -> None:
    kept, rebuild = most_telling(
        torch.zeros(UNITS, UNITS).double(), torch.ones(2, UNITS).double(), 3
    )
    assert kept.tolist() == sorted(set(kept.tolist()))
    others = [unit for unit in range(UNITS) if unit not in kept.tolist()]
    assert rebuild[others].abs().max() == 0
    assert torch.equal(rebuild[kept], torch.eye(3).double())


def test_the_largest_are_those_that_add_most_to_what_is_read() -> None:
    products = torch.diag(torch.tensor([1.0, 4.0, 9.0, 100.0])).double()
    read = torch.tensor([[3.0, 1.0, 1.0, 0.1]]).double()  # contributions 9, 4, 9.0, 1
    kept, rebuild = largest(products, read, 2)
    assert kept.tolist() == [0, 2]
    assert torch.equal(rebuild, torch.eye(4).double()[:, [0, 2]])
