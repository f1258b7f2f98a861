"""Copies of calibration images."""

import pytest
import torch

from mmptq.ptq.variants import varied_images
from mmptq.ptq.variants.varied_images import varied_batch
from mmptq.quantization import QuantizationError


@pytest.fixture
def data():
    torch.manual_seed(0)
    return dict(inputs=torch.rand(2, 3, 12, 16), data_samples=['a', 'b'])


def test_a_seed_gives_one_copy_and_leaves_the_original(data):
    before = data['inputs'].clone()
    first, again, other = (varied_batch(data, seed) for seed in (3, 3, 4))
    assert torch.equal(first['inputs'], again['inputs'])
    assert not torch.equal(first['inputs'], other['inputs'])
    assert torch.equal(data['inputs'], before) and first['inputs'].shape == before.shape
    assert first['data_samples'] is data['data_samples']


def test_without_other_changes_images_are_mirrored_or_not(data, monkeypatch):
    for name in ('ZOOM', 'SHIFT', 'CONTRAST', 'BRIGHTNESS'):
        monkeypatch.setattr(varied_images, name, 0.0)
    seen = set()
    for seed in range(8):
        for x, y in zip(varied_batch(data, seed)['inputs'], data['inputs'], strict=True):
            same, mirrored = (
                torch.allclose(x, y, atol=1e-5),
                torch.allclose(x.flip(-1), y, atol=1e-5),
            )
            assert same != mirrored
            seen.add(same)
    assert seen == {True, False}


def test_light_changes_within_its_bounds(data, monkeypatch):
    for name in ('ZOOM', 'SHIFT'):
        monkeypatch.setattr(varied_images, name, 0.0)
    x = varied_batch(data, 1)['inputs']
    ratio = x.std((1, 2, 3)) / data['inputs'].std((1, 2, 3))
    assert ((ratio - 1).abs() <= 0.25 + 1e-4).all() and (ratio - 1).abs().min() > 1e-4
    shift = (x.mean((1, 2, 3)) - data['inputs'].mean((1, 2, 3))).abs()
    assert (shift <= 0.25 * x.std((1, 2, 3)) / 0.75).all() and shift.min() > 1e-4


@pytest.mark.parametrize('inputs', [dict(voxels=torch.zeros(3, 4)), torch.zeros(4, 5), [1]])
def test_other_inputs_are_refused(inputs):
    with pytest.raises(QuantizationError, match='use copies=0'):
        varied_batch(dict(inputs=inputs), 0)
