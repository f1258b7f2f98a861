"""Values by hand."""

import pytest
import torch

from mmptq.losses import LpLoss


@pytest.mark.parametrize(('p', 'expected'), [(1.0, 3.0), (2.0, 5.0), (3.0, 9.0)])
def test_sum_over_channels_mean_over_positions(p, expected, device):
    pred = torch.tensor([1.0, -2.0], device=device).view(1, 2, 1, 1).expand(3, 2, 4, 5)
    assert LpLoss(p)(pred, torch.zeros_like(pred)).item() == pytest.approx(expected)


def test_weight_and_rows(device):
    pred = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
    weight = torch.tensor([[1.0], [0.0]], device=device)
    assert LpLoss()(pred, torch.zeros_like(pred), weight).item() == pytest.approx(5 / 2)


def test_channels_of_a_sequence_come_last():
    assert LpLoss()(torch.ones(2, 3, 7), torch.zeros(2, 3, 7)).item() == pytest.approx(7)
