"""The average range of a batch."""

import pytest
import torch

from mmptq.observers import MeanMinMaxObserver
from mmptq.quantization import QScheme


def test_values_by_hand():
    observer = MeanMinMaxObserver(QScheme())
    for low, high in ((-1.0, 3.0), (-2.0, 6.0), (0.0, 30.0)):
        observer.update(torch.tensor([low, high]))
    scale, zero_point = observer.qparams()
    assert scale.item() == pytest.approx(14 / 255)
    assert zero_point.item() == round(255 / 14)


def test_order_does_not_matter(values):
    pieces = values.split(500)
    forward, backward = MeanMinMaxObserver(QScheme()), MeanMinMaxObserver(QScheme())
    for piece, other in zip(pieces, reversed(pieces), strict=True):
        forward.update(piece)
        backward.update(other)
    assert torch.allclose(forward.qparams()[0], backward.qparams()[0], rtol=1e-6)
    assert torch.equal(forward.qparams()[1], backward.qparams()[1])
