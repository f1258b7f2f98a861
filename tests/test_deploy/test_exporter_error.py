"""Errors of torch's exporter are one sentence that names operator or module."""

import pytest
import torch
from deploy_models import TinyDetector, sample_inputs
from torch import nn

from mmptq.deploy.exported_subgraph import ExportedSubgraph
from mmptq.deploy.onnx_export import export_marked
from mmptq.quantization import QuantizationError


class TracedGroups(nn.Module):
    """TOOD's sampling: the number of groups is a traced tensor."""

    def forward(self, x):
        from mmcv.ops import deform_conv2d

        channels = x.shape[1]
        weight = x.new_ones(channels, 1, 1, 1)
        offset = x.new_zeros(len(x), 2 * channels, *x.shape[2:])
        return deform_conv2d(x, offset, weight, 1, 0, 1, channels, channels)


class Raises(nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            raise ZeroDivisionError('not while tracing')
        return x


@pytest.mark.parametrize(
    ('layer', 'message'),
    [
        (TracedGroups, r"'DeformConv2dFunction' to ONNX \(TypeError: i_\(\): incompatible"),
        (Raises, r"'bbox_head.1' to ONNX \(ZeroDivisionError: not while tracing\): replace that"),
    ],
)
def test_operator_or_module_is_named(layer, message):
    detector = TinyDetector().eval()
    detector.bbox_head = nn.Sequential(nn.Conv2d(32, 32, 1), layer()).eval()
    with pytest.raises(QuantizationError, match=message) as caught:
        export_marked(ExportedSubgraph(detector).eval(), sample_inputs()[0], dynamic=True)
    assert '\n' not in str(caught.value)
