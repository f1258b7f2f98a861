"""The exported graph with its marks."""

import pytest
import torch
from deploy_models import TinyDetector, quantized_detector, sample_inputs
from torch import Tensor, nn

from mmptq.deploy.exported_subgraph import ExportedSubgraph
from mmptq.deploy.graph.graph import attribute
from mmptq.deploy.onnx_export import MARKER, export_marked
from mmptq.quantization import FakeQuantizer, QuantizationError


def test_every_quantizer_is_marked_where_it_works():
    detector = quantized_detector('openvino')
    subgraph = ExportedSubgraph(detector).eval()
    model = export_marked(subgraph, sample_inputs()[0], dynamic=True)
    marks = {attribute(node, 'name') for node in model.graph.node if node.op_type == MARKER}
    expected = {n for n, m in subgraph.named_modules() if isinstance(m, FakeQuantizer)}
    assert marks == expected
    sizes = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ['batch', '', 'height', 'width']
    # The model is as before.
    assert not any('forward' in vars(m) for m in subgraph.modules() if isinstance(m, FakeQuantizer))


def test_batch_norm_is_not_folded_by_the_exporter():
    detector = TinyDetector().eval()
    detector.bbox_head = nn.Sequential(nn.Conv2d(32, 8, 1), nn.BatchNorm2d(8)).eval()
    nn.init.uniform_(detector.bbox_head[1].running_var)
    model = export_marked(ExportedSubgraph(detector).eval(), sample_inputs()[0], dynamic=False)
    assert 'BatchNormalization' in [node.op_type for node in model.graph.node]


class Odd(nn.Module):
    """Something that ONNX has not."""

    def forward(self, x: Tensor) -> Tensor:
        return x.erfinv()


def test_unknown_operators_are_named_with_their_module():
    detector = TinyDetector().eval()
    detector.bbox_head = nn.Sequential(nn.Conv2d(32, 8, 1), Odd())
    with pytest.raises(QuantizationError, match="operator 'erfinv' of 'bbox_head/bbox_head.1' is"):
        export_marked(ExportedSubgraph(detector).eval(), sample_inputs()[0], dynamic=False)
    subgraph = ExportedSubgraph(TinyDetector().eval())
    with pytest.raises(
        QuantizationError, match="'ConvTranspose' of 'neck/up' is not supported by this engine"
    ):
        export_marked(subgraph, sample_inputs()[0], False, unsupported=('ConvTranspose',))


@pytest.mark.parametrize('modulated', [False, True])
def test_deformable_convolutions_run_in_onnxruntime(tmp_path, modulated):
    import numpy as np
    import onnx
    from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack

    from mmptq.deploy import open_engine

    torch.manual_seed(0)
    layer = (ModulatedDeformConv2dPack if modulated else DeformConv2dPack)(32, 8, 3, padding=1)
    nn.init.normal_(layer.conv_offset.weight, std=0.1)
    detector = TinyDetector().eval()
    detector.bbox_head = layer.eval()
    subgraph, (x,) = ExportedSubgraph(detector).eval(), sample_inputs(1)
    model = export_marked(subgraph, x, dynamic=False)
    onnx.save(model, tmp_path / 'a.onnx')
    (value,) = open_engine('onnxruntime', tmp_path / 'a.onnx').run(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(value, subgraph(x)[0].numpy(), atol=1e-4)
