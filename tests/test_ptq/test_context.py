"""Calibration batches are checked before the model sees them."""

import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from mmptq.ptq.context import PTQContext, check_inputs
from mmptq.quantization import QuantizationError


def sample(key: str, path: str) -> list[DetDataSample]:
    return [DetDataSample(metainfo={key: path})]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_non_finite_input_names_its_file(value):
    points = torch.rand(10, 4)
    points[3, 2] = value
    data = dict(inputs=dict(points=[points]), data_samples=sample('lidar_path', 'a/scan.bin'))
    with pytest.raises(QuantizationError, match="'a/scan.bin' contains NaN or Inf"):
        check_inputs(data)


def test_empty_input_names_its_file():
    data = dict(inputs=dict(points=[torch.rand(0, 4)]), data_samples=sample('lidar_path', 'e.bin'))
    with pytest.raises(QuantizationError, match="'e.bin' is empty"):
        check_inputs(data)


def test_sound_input_passes():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    check_inputs(dict(inputs=images, data_samples=sample('img_path', 'a.jpg')))
    check_inputs(dict(inputs=dict(points=[torch.rand(3, 4)], imgs=None), data_samples=None))


@pytest.mark.parametrize(
    ('count', 'chosen'), [(None, [0, 1, 2, 3, 4, 5]), (3, [0, 2, 4]), (4, [0, 1, 3, 4]), (9, None)]
)
def test_a_part_of_the_batches_is_evenly_spread(tmp_path, count, chosen):
    class Model(nn.Module):
        def data_preprocessor(self, batch, training):
            return batch

    batches = [dict(inputs=torch.full((1, 3, 2, 2), index)) for index in range(6)]
    ctx = PTQContext(Model(), batches, tmp_path, seed=0)
    found = [int(data['inputs'].max()) for data in ctx.batches('load', count)]
    assert found == (list(range(6)) if chosen is None else chosen)
