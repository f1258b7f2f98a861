"""Calibration batches are checked before the model sees them, and enter it as they should."""

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from torch import nn

from mmptq.ptq.inputs.model_inputs import (
    check_finite,
    prepare_batch,
    run_model,
    sample_name,
    with_data_samples,
)
from mmptq.quantization import QuantizationError


class Detector(nn.Module):
    def data_preprocessor(self, batch, training):
        assert training is False
        return batch

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs, mode


def sample(key: str, path: str) -> list[DetDataSample]:
    return [DetDataSample(metainfo={key: path})]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_non_finite_input_names_its_file(value):
    points = torch.rand(10, 4)
    points[3, 2] = value
    data = dict(inputs=dict(points=[points]), data_samples=sample('lidar_path', 'a/scan.bin'))
    with pytest.raises(QuantizationError, match="'a/scan.bin' contains NaN or Inf"):
        prepare_batch(Detector(), data)


def test_empty_input_names_its_file():
    data = dict(inputs=dict(points=[torch.rand(0, 4)]), data_samples=sample('lidar_path', 'e.bin'))
    with pytest.raises(QuantizationError, match="'e.bin' is empty"):
        prepare_batch(Detector(), data)


def test_sound_input_passes():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    prepare_batch(Detector(), dict(inputs=images, data_samples=sample('img_path', 'a.jpg')))
    check_finite(dict(points=[torch.rand(3, 4)], imgs=None), 'x', 'y')
    assert sample_name(dict(inputs=images)) == 'without a file name'


def test_a_detector_predicts():
    assert run_model(Detector(), dict(inputs=3)) == (3, 'predict')
    assert run_model(Detector(), (3, None)) == (3, 'predict')


@pytest.mark.parametrize('rest', [{}, dict(data_samples=None), dict(data_samples=[None, None])])
def test_images_without_data_samples(rest):
    images = [torch.zeros(3, 8, 6), torch.zeros(3, 4, 9)]
    batch = with_data_samples(dict(inputs=images, **rest))
    assert [s.img_shape for s in batch['data_samples']] == [(8, 6), (4, 9)]
    assert [s.ori_shape for s in batch['data_samples']] == [(8, 6), (4, 9)]
    assert batch['data_samples'][0].scale_factor == (1.0, 1.0)


def test_data_samples_stay():
    samples = sample('img_path', 'a.jpg')
    given = dict(inputs=[torch.zeros(3, 8, 6)], data_samples=samples)
    assert with_data_samples(given) is given
    points = dict(inputs=dict(points=[torch.rand(3, 4)]))
    assert with_data_samples(points) is points
    assert with_data_samples([1]) == [1]


@pytest.mark.parametrize(
    ('batch', 'cause'),
    [
        ([[torch.zeros(3, 64, 96)], [0]], 'TypeError'),  # of a dataset that gives (image, label)
        ([torch.zeros(3, 64, 96)], 'TypeError'),
        (dict(img=[torch.zeros(3, 64, 96)]), "KeyError: 'inputs'"),
        (dict(inputs=[torch.zeros(3, 64, 96).numpy()], data_samples=[]), 'TypeError'),
        ([None], 'TypeError'),
    ],
)
def test_samples_of_another_form_are_one_sentence(batch, cause):
    model = nn.Module()
    model.data_preprocessor = DetDataPreprocessor()
    with pytest.raises(QuantizationError) as error:
        prepare_batch(model, batch)
    assert 'is not what the model takes' in str(error.value) and cause in str(error.value)
    assert 'dict(inputs=..., data_samples=...)' in str(error.value)


@pytest.mark.parametrize(
    ('data', 'expected'),
    [
        (torch.tensor(2.0), 12.0),
        ((torch.tensor(2.0), torch.tensor(3.0)), 23.0),
        ([torch.tensor(2.0)], 12.0),
        (dict(b=torch.tensor(4.0), a=torch.tensor(2.0)), 24.0),
    ],
)
def test_arguments_of_any_module(data, expected):
    class Sum(nn.Module):
        def forward(self, a, b=None):
            return 10 + a if b is None else 10 * a + b

    assert run_model(Sum(), prepare_batch(Sum(), data)) == expected
