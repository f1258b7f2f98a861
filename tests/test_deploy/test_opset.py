"""The lowest opset that a network needs, or the one that is asked for."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from deploy_models import TinyDetector, profile_of, quantized_detector, sample_inputs
from torch import nn

from mmptq.deploy import ExportedSubgraph, build_model, open_engine
from mmptq.deploy.onnx_export import export_marked
from mmptq.deploy.parity import measure_parity
from mmptq.quantization import QuantizationError


def opset_of(model: onnx.ModelProto) -> int:
    (entry,) = (entry for entry in model.opset_import if not entry.domain)
    return entry.version


class Sampled(nn.Module):
    def forward(self, x):
        grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, 4, 4], align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(32)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Deformed(nn.Module):
    """The function of mmcv, as TOOD and VFNet call it: no module tells of it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 32, 3, 3))

    def forward(self, x):
        from mmcv.ops import deform_conv2d

        return deform_conv2d(x, x[:, :18], self.weight, 1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ('layer', 'expected', 'operator'),
    [
        (nn.Identity, 13, 'Conv'),
        (Sampled, 16, 'GridSample'),
        (Normed, 17, 'LayerNormalization'),
        (Deformed, 19, 'DeformConv'),
    ],
)
def test_lowest_opset(layer, expected, operator, tmp_path):
    detector = TinyDetector().eval()
    torch.manual_seed(0)
    detector.bbox_head = nn.Sequential(nn.Conv2d(32, 32, 1), layer()).eval()
    subgraph, (x,) = ExportedSubgraph(detector).eval(), sample_inputs(1)
    model = export_marked(subgraph, x, dynamic=False)
    assert opset_of(model) == expected
    assert operator in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / 'a.onnx')
    (value,) = open_engine('onnxruntime', tmp_path / 'a.onnx').run(x.numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(value), subgraph(x)[0], rtol=1e-3, atol=1e-4)
    assert opset_of(export_marked(subgraph, x, dynamic=False, opset=20)) == 20
    if expected > 13:
        with pytest.raises(QuantizationError, match='--opset 13'):
            export_marked(subgraph, x, dynamic=False, opset=13)


@pytest.mark.parametrize('opset', [None, 13, 17, 19, 20])
@pytest.mark.parametrize('backend', ['onnxruntime', 'onnxruntime_full', 'openvino'])
def test_a_file_of_any_opset_computes_the_same(backend, opset, tmp_path):
    detector = quantized_detector(backend)
    model, _ = build_model(detector, profile_of(backend), sample_inputs(), False, opset=opset)
    assert opset_of(model) == (opset or 13)
    onnx.save(model, tmp_path / 'a.onnx')
    engine = open_engine(profile_of(backend).engine, tmp_path / 'a.onnx', 1)
    simulation = open_engine('simulation', tmp_path / 'a.onnx', 1)
    subgraph = ExportedSubgraph(detector).eval()
    results = measure_parity(engine, simulation, subgraph, sample_inputs())
    assert min(result.file_db for result in results) > 30


@pytest.mark.parametrize(('opset', 'expected', 'half'), [(None, 19, True), (17, 17, False)])
def test_older_tensorrt_chooses_types_itself(opset, expected, half):
    detector = quantized_detector('tensorrt')
    profile = profile_of('tensorrt')
    model, _ = build_model(detector, profile, sample_inputs(), False, opset=opset)
    assert opset_of(model) == expected
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) == half


@pytest.mark.parametrize('opset', [12, 21, 0, -1])
def test_an_opset_that_cannot_be_written(opset):
    subgraph = ExportedSubgraph(TinyDetector().eval())
    with pytest.raises(QuantizationError, match=f'--opset {opset}: use a number from 13 to 20'):
        export_marked(subgraph, sample_inputs()[0], False, opset=opset)


def test_the_backend_may_ask_for_more():
    subgraph = ExportedSubgraph(TinyDetector().eval())
    (x,) = sample_inputs(1)
    assert opset_of(export_marked(subgraph, x, False, lowest=18)) == 18
    with pytest.raises(QuantizationError, match='--opset 17: this backend needs 18 at least'):
        export_marked(subgraph, x, False, opset=17, lowest=18)
