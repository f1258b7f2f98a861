"""Integers, scales and biases in a file."""

import numpy as np
import onnx
import pytest
import torch
from deploy_models import exported, sample_inputs
from onnx import numpy_helper
from torch import nn

from mmptq.deploy import ExportedSubgraph, build_model, open_engine
from mmptq.deploy.graph.qdq import TensorQParams, integer_weight
from mmptq.deploy.parity import measure_parity
from mmptq.quantization import FakeQuantizer, QScheme, QuantizationError, choose_qparams


def quantizer_for(weight: torch.Tensor, scheme: QScheme) -> FakeQuantizer:
    rows = weight.transpose(0, scheme.channel_axis).flatten(1)
    quantizer = FakeQuantizer(scheme, len(rows))
    quantizer.set_qparams(*choose_qparams(rows.amin(1), rows.amax(1), scheme))
    return quantizer


@pytest.mark.parametrize(
    'scheme',
    [
        QScheme(8, symmetric=True, signed=True, narrow=True, channel_axis=0),
        QScheme(4, signed=False, channel_axis=0),
        QScheme(4, signed=False, channel_axis=1),
        QScheme(7, channel_axis=0),
        QScheme(2, symmetric=True, signed=True, channel_axis=0),
    ],
    ids=QScheme.describe,
)
def test_stored_integers_times_scale_are_the_weight_bit_by_bit(scheme):
    weight = torch.randn(5, 6, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.3
    quantizer = quantizer_for(weight, scheme)
    on_grid = quantizer(weight)
    integers = integer_weight(on_grid.numpy(), quantizer, 'conv')
    assert integers.dtype == np.int8
    scale = scheme.broadcast(quantizer.scale, 4).numpy()
    assert np.array_equal(integers.astype(np.float32) * scale, on_grid.numpy())


def test_eight_bits_with_a_zero_point_do_not_fit():
    scheme = QScheme(8, signed=False, channel_axis=0)
    weight = torch.rand(2, 3, 3, 3) + 0.1
    quantizer = quantizer_for(weight, scheme)
    with pytest.raises(QuantizationError, match="'conv' uses the integers .* symmetric weights"):
        integer_weight(quantizer(weight).numpy(), quantizer, 'conv')


def test_grid_of_a_quantizer():
    quantizer = FakeQuantizer(QScheme(8, signed=True))
    quantizer.set_qparams(torch.tensor([0.5]), torch.tensor([-3]))
    assert TensorQParams.of(quantizer) == TensorQParams(0.5, -3, True)
    assert TensorQParams.of(quantizer).dtype == np.int8


def test_file_holds_int8_weights_and_int32_biases(tmp_path):
    detector, model = exported('onnxruntime', tmp_path / 'a.onnx')
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weight = arrays['backbone.conv1.weight_quantized']
    assert weight.dtype == np.int8
    scale = arrays['backbone.conv1.weight_scale'].reshape(-1, 1, 1, 1)
    assert np.array_equal(weight * scale, detector.backbone.conv1.weight.detach().numpy())
    biases = [a for name, a in arrays.items() if name.endswith('bias_quantized')]
    assert biases
    assert all(array.dtype == np.int32 for array in biases)
    floats = sum(a.nbytes for a in arrays.values() if a.dtype == np.float32)
    assert floats < 0.2 * sum(a.nbytes for a in arrays.values())


def test_a_tensor_with_two_consumers_has_one_pair(tmp_path):
    _, model = exported('openvino', tmp_path / 'a.onnx')
    inputs = [node.input[0] for node in model.graph.node if node.op_type == 'QuantizeLinear']
    assert len(inputs) == len(set(inputs))


class LinearDetector(nn.Module):
    """A head of linear layers on rows of features, whose weights the exporter transposes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv2d(3, 16, 3)
        self.bbox_head = nn.Sequential(nn.Flatten(2), nn.Linear(60, 8), nn.ReLU(), nn.Linear(8, 5))


@pytest.mark.parametrize(
    ('backend', 'counts'), [('onnxruntime', (2, 1)), ('onnxruntime_full', (3, 0))]
)
def test_linear_layers_run_in_integers(tmp_path, backend, counts):
    from deploy_models import profile_of
    from helpers import load_tool

    detector = LinearDetector().eval()
    x = torch.randn(1, 3, 8, 12)
    profile = profile_of(backend)
    with torch.no_grad():
        load_tool('benchmark').quantize_by_minmax(ExportedSubgraph(detector), profile, x)
    model, _ = build_model(detector, profile, [x], dynamic=False)
    onnx.save(model, tmp_path / 'a.onnx')
    engine = open_engine('onnxruntime', tmp_path / 'a.onnx')
    simulation = open_engine('simulation', tmp_path / 'a.onnx')
    assert engine.count_layers() == counts
    (result,) = measure_parity(engine, simulation, ExportedSubgraph(detector), [x])
    assert min(result.file_db, result.model_db) > 30


def test_remainder_in_float16_computes_the_same(tmp_path):
    detector, model = exported('tensorrt', tmp_path / 'a.onnx')
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT not in types.values()
    ends = [*model.graph.input, *model.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT}
    simulation = open_engine('simulation', tmp_path / 'a.onnx')
    subgraph = ExportedSubgraph(detector).eval()
    results = measure_parity(simulation, simulation, subgraph, sample_inputs())
    assert min(result.model_db for result in results) > 30
