"""Calibration batches are checked before the model sees them."""

import pytest
import torch
from mmdet.structures import DetDataSample

from mmptq.ptq.context import check_inputs
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
