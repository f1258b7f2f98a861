"""The number of images that a file takes, checked in its engine."""

import onnx
import pytest
import torch
from deploy_models import TinyDetector, profile_of, quantized_detector, sample_inputs
from torch import nn

from mmptq.deploy import (
    FileForm,
    export_float,
    export_quantized,
    open_engine_file,
    replace_with_engine,
)
from mmptq.quantization import QuantizationError


class OneImage(nn.Module):
    """A reshape whose number of images becomes a constant of the file."""

    def forward(self, x):
        return x.reshape(int(x.shape[0]), 32, -1)


class OneSize(nn.Module):
    """A reshape whose size becomes a constant of the file."""

    def forward(self, x):
        return x.reshape(x.shape[0], 32, int(x.shape[2]) * int(x.shape[3]))


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
@torch.no_grad()
def test_three_images_at_a_time(tmp_path, backend):
    detector, path = quantized_detector(backend), tmp_path / 'a.onnx'
    form = FileForm(dynamic=False, batch=3)
    rows = export_quantized(detector, profile_of(backend), sample_inputs(), path, {}, form)
    assert min(row['engine against file (dB)'] for row in rows) > 30
    engine = open_engine_file(path)
    assert engine.input_shape == (3, 3, 32, 48)
    deployed = TinyDetector().eval()
    replace_with_engine(deployed, engine)
    images = torch.cat(sample_inputs(4))  # one group of three, and one of one
    expected, found = detector(images), deployed(images)
    assert found.shape == expected.shape
    errors = (found - expected).square().mean((1, 2))
    assert (errors < 0.02 * expected.square().mean()).all()


def test_an_open_batch_is_checked_with_two_images(tmp_path):
    detector = TinyDetector().eval()
    export_float(detector, sample_inputs(), tmp_path / 'a.onnx')
    assert open_engine_file(tmp_path / 'a.onnx').input_shape[0] == 'batch'


def test_a_network_for_one_image(tmp_path):
    detector = TinyDetector().eval()
    detector.bbox_head = nn.Sequential(nn.Conv2d(32, 32, 1), OneImage()).eval()
    inputs, path = sample_inputs(), tmp_path / 'a.onnx'
    export_float(detector, inputs, path)
    assert open_engine_file(path).input_shape[0] == 1
    onnx.checker.check_model(onnx.load(path))
    assert open_engine_file(path).input_shape[2:] == ('height', 'width')
    with pytest.raises(QuantizationError, match='--batch dynamic: two images at a time fail'):
        export_float(detector, inputs, tmp_path / 'b.onnx', FileForm(batch='dynamic'))
    assert not (tmp_path / 'b.onnx').exists()


@pytest.mark.parametrize(
    ('layer', 'shape'), [(nn.Identity(), ('height', 'width')), (OneSize(), (32, 48))]
)
def test_an_open_size_is_checked_with_another_one(tmp_path, layer, shape):
    detector = TinyDetector().eval()
    detector.bbox_head = nn.Sequential(nn.Conv2d(32, 32, 1), layer).eval()
    export_float(detector, sample_inputs(), tmp_path / 'a.onnx')
    assert open_engine_file(tmp_path / 'a.onnx').input_shape == ('batch', 3, *shape)
