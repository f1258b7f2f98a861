"""Focal loss against its formula."""

import math

import torch

from mmptq.lanes.models import SoftmaxFocalLoss


def test_value_by_hand():
    loss = SoftmaxFocalLoss(alpha=0.25, gamma=2.0, loss_weight=10.0)
    pred = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])  # probabilities 1/4 and 3/4
    value = loss(pred, torch.tensor([1, 0]), avg_factor=2)
    expected = 10 * 0.25 * ((1 / 4) ** 2 * -math.log(3 / 4) + (3 / 4) ** 2 * -math.log(1 / 4)) / 2
    assert math.isclose(value.item(), expected, rel_tol=1e-6)


def test_certain_and_empty_predictions():
    loss = SoftmaxFocalLoss()
    pred = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss(pred, torch.tensor([1])).backward()
    assert torch.isfinite(pred.grad).all()
    assert loss(pred[:0], torch.zeros(0, dtype=torch.long)).item() == 0
    assert loss(pred, torch.tensor([0])).item() == 100  # finite, not log(0)
