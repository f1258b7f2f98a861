"""Positions, scores and probabilities."""

import torch

from mmptq.adapters import HeadOutput
from mmptq.adapters.head_output import flatten_level, flatten_levels, product_logit


def test_product_logit():
    a, b = torch.tensor([-30.0, 0.0, 2.0, 40.0]), torch.tensor([1.0, 0.0, -3.0, 40.0])
    product = a.double().sigmoid() * b.double().sigmoid()
    torch.testing.assert_close(product_logit(a, b)[:3], product.logit().float()[:3])
    assert product_logit(a, b).isfinite().all()


def test_probabilities():
    scores = torch.tensor([[[0.0, 2.0, -1.0]]])
    torch.testing.assert_close(HeadOutput('h', scores).probabilities(), scores.sigmoid())
    expected = scores.exp()[..., :2] / scores.exp().sum()
    torch.testing.assert_close(HeadOutput('h', scores, softmax=True).probabilities(), expected)


def test_order_of_positions():
    x = torch.arange(2 * 6 * 2 * 3).view(2, 6, 2, 3)  # three priors of two numbers
    rows = flatten_level(x, 2)
    assert rows.shape == (2, 18, 2)
    # Rows of the map first, then columns, then priors.
    assert torch.equal(rows[1, 3 * 4 + 2], x[1, 4:6, 1, 1])
    assert flatten_levels([x, x[..., :1, :1]], 2).shape == (2, 21, 2)
