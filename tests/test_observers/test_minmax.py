"""The plain range: values worked out by hand."""

import pytest
import torch

from mmptq.observers import MinMaxObserver
from mmptq.quantization import QScheme

MIDDLE = 2 / 127
CASES = [
    # low, high, scheme, scale, zero point
    (-1.0, 3.0, QScheme(), 4 / 255, 64),
    (-1.0, 3.0, QScheme(signed=True), 4 / 255, -64),
    (0.5, 3.0, QScheme(), 3 / 255, 0),
    (-3.0, -0.5, QScheme(), 3 / 255, 255),
    (-1.0, 2.0, QScheme(symmetric=True), MIDDLE, 128),
    (-1.0, 2.0, QScheme(symmetric=True, signed=True), MIDDLE, 0),
    (-2.0, 1.0, QScheme(symmetric=True, signed=True, narrow=True), MIDDLE, 0),
    (0.5, 2.0, QScheme(symmetric=True), 2 / 255, 0),
    (-1.0, 2.0, QScheme(symmetric=True, signed=False), 2 / 255, 0),
    (-1.0, 2.0, QScheme(bits=2), 1.0, 1),
    (-1.0, 3.0, QScheme(bits=4), 4 / 15, 4),
    (-1.0, 3.0, QScheme(bits=16), 4 / 65535, 16384),
]


@pytest.mark.parametrize('low, high, scheme, scale, zero_point', CASES)
def test_values_by_hand(low, high, scheme, scale, zero_point):
    observer = MinMaxObserver(scheme)
    observer.update(torch.tensor([low, (low + high) / 2]))
    observer.update(torch.tensor([[high]]))
    actual_scale, actual_zero_point = observer.qparams()
    assert actual_scale.item() == pytest.approx(scale, rel=1e-6)
    assert actual_zero_point.item() == zero_point


def test_each_channel_has_its_range():
    observer = MinMaxObserver(QScheme(symmetric=True, signed=True, channel_axis=1))
    observer.update(torch.tensor([[1.0, -2.0], [0.5, 1.0]]))
    observer.update(torch.tensor([[-4.0, 0.0]]))
    scale, zero_point = observer.qparams()
    assert torch.allclose(scale, torch.tensor([4.0, 2.0]) / 127)
    assert zero_point.tolist() == [0, 0]


def test_streaming_equals_one_shot(values):
    whole, pieces = MinMaxObserver(QScheme()), MinMaxObserver(QScheme())
    whole.update(values)
    for piece in values.split(777):
        pieces.update(piece)
    assert whole.qparams() == pieces.qparams()
