"""Transposed convolutions as 1x1 convolutions give the same numbers."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from deploy_models import profile_of, sample_inputs
from helpers import load_tool
from torch import nn

from mmptq.deploy import ExportedSubgraph, build_model, open_engine


class Upsampler(nn.Module):
    """A detector of one transposed convolution."""

    def __init__(self, activation: bool, **options):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv2d(3, 16, 3, 1, 1)
        layers = [nn.ConvTranspose2d(16, 70, **options)] + [nn.ReLU()] * activation
        self.bbox_head = nn.Sequential(*layers)


@pytest.mark.parametrize('activation', [False, True])
@pytest.mark.parametrize(
    ('options', 'unfolded'),
    [
        (dict(kernel_size=2, stride=2), True),
        (dict(kernel_size=4, stride=4, bias=False), True),
        (dict(kernel_size=1, stride=1), True),
        (dict(kernel_size=3, stride=2, padding=1, output_padding=1), False),
    ],
)
def test_same_numbers(tmp_path, activation, options, unfolded):
    detector, inputs = Upsampler(activation, **options).eval(), sample_inputs(1, (8, 6))
    # Without quantized outputs, which a last digit could send to the next level.
    profile = replace(profile_of('openvino'), unfold_transposed_convs=True)
    with torch.no_grad():
        load_tool('benchmark').quantize_by_minmax(ExportedSubgraph(detector), profile, inputs[0])
        (expected,) = ExportedSubgraph(detector)(inputs[0])
    model, _ = build_model(detector, profile, inputs, dynamic=True)
    kinds = [node.op_type for node in model.graph.node]
    assert ('ConvTranspose' in kinds) is not unfolded
    assert ('DepthToSpace' in kinds) is unfolded
    onnx.save(model, tmp_path / 'a.onnx')
    (value,) = open_engine('simulation', tmp_path / 'a.onnx').run(inputs[0].numpy())
    np.testing.assert_allclose(value, expected.numpy(), atol=1e-5)


def test_runs_in_integers(tmp_path):
    detector, inputs = Upsampler(True, kernel_size=2, stride=2).eval(), sample_inputs(1, (8, 6))
    profile = profile_of('onnxruntime')
    with torch.no_grad():
        load_tool('benchmark').quantize_by_minmax(ExportedSubgraph(detector), profile, inputs[0])
    model, _ = build_model(detector, profile, inputs, dynamic=True)
    onnx.save(model, tmp_path / 'a.onnx')
    assert open_engine('onnxruntime', tmp_path / 'a.onnx').count_layers() == (2, 0)
