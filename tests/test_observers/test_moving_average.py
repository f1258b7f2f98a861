"""The range that follows the batches."""

import pytest
import torch

from mmptq.observers import MovingAverageObserver
from mmptq.quantization import QScheme, QuantizationError


def test_values_by_hand():
    observer = MovingAverageObserver(QScheme(), momentum=0.25)
    observer.update(torch.tensor([-4.0, 8.0]))
    observer.update(torch.tensor([0.0, 16.0]))
    # low -4 * 0.75 + 0 * 0.25 = -3, high 8 * 0.75 + 16 * 0.25 = 10
    scale, zero_point = observer.qparams()
    assert scale.item() == pytest.approx(13 / 255)
    assert zero_point.item() == round(3 * 255 / 13)


def test_momentum_one_is_the_last_update():
    observer = MovingAverageObserver(QScheme(), momentum=1.0)
    observer.update(torch.tensor([100.0]))
    observer.update(torch.tensor([2.0]))
    assert observer.qparams()[0].item() == pytest.approx(2 / 255)


@pytest.mark.parametrize('momentum', [0.0, 1.5, -0.1])
def test_bad_momentum(momentum):
    with pytest.raises(QuantizationError, match='momentum'):
        MovingAverageObserver(QScheme(), momentum=momentum)
