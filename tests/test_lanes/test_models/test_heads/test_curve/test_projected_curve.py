"""LSTR's curve against values by hand."""

import pytest
import torch

from mmptq.lanes.models.heads.curve.projected_curve import projected_xs

CURVE = torch.tensor([0.02, 0.2, 0.03, 0.4, 0.5, 0.1])  # k f m n b c


def by_hand(y: float) -> float:
    return 0.02 / (y - 0.2) ** 2 + 0.03 / (y - 0.2) + 0.4 + 0.5 * y - 0.1


def test_values_by_hand():
    ys = torch.tensor([0.4, 0.7, 1.0])
    expected = [by_hand(y) for y in ys.tolist()]
    assert projected_xs(CURVE, ys).tolist() == pytest.approx(expected)
    assert expected[1] == pytest.approx(0.08 + 0.06 + 0.4 + 0.35 - 0.1)


def test_rows_for_all_curves_and_for_each():
    curves = torch.stack([CURVE, CURVE + 0.1])[None].expand(3, -1, -1)
    ys = torch.tensor([0.5, 0.8, 0.9, 1.0])
    shared = projected_xs(curves, ys)
    assert shared.shape == (3, 2, 4)
    assert torch.equal(shared, projected_xs(curves, ys.expand(3, 2, 4)))


def test_finite_at_the_pole():
    curve = CURVE.clone().requires_grad_()
    xs = projected_xs(curve, torch.tensor([0.2]))
    xs.sum().backward()
    assert xs.isfinite().all() and curve.grad.isfinite().all()
    left, right = projected_xs(torch.tensor([0, 0.2, 1, 0, 0, 0]), torch.tensor([0.19999, 0.20001]))
    assert left < 0 < right
