"""Products of two activations in integers, where a backend asks for it."""

import onnx
import pytest
import torch
from deploy_models import profile_of, quantized_detector, sample_inputs
from torch import Tensor, nn

from mmptq.deploy import ExportedSubgraph, build_model, open_engine
from mmptq.deploy.graph.activation_matmuls import is_activation_matmul
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.qdq import TensorQParams, qparams_of_pair
from mmptq.deploy.parity import measure_parity
from mmptq.lanes.models.necks.lane_transformer import Attention
from mmptq.quantization import product_quantizers


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class AttentionHead(nn.Module):
    """Each position mixes the features of all; what is mixed goes on beside itself."""

    def __init__(self):
        super().__init__()
        self.attend = nn.Linear(32, 96)
        self.scores = nn.Linear(64, 80)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = x.flatten(2).transpose(1, 2)
        weights = self.attend(x).sigmoid()
        return [self.scores(torch.cat([weights @ x, x], -1))]


class AttentionDetector(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.bbox_head = Backbone(), AttentionHead()

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.bbox_head(self.backbone(x))


def matmul_qparams(model: onnx.ModelProto) -> list[list[TensorQParams]]:
    """For both operands of the product the grid that they are dequantized from, if any."""
    graph = Graph(model)
    (product,) = [n for n in graph.of_type('MatMul') if not graph.is_constant(stored(graph, n))]
    producers = [graph.producer(name) for name in product.input]
    return [
        [qparams_of_pair(graph, graph.producer(node.input[0]))]
        if node.op_type == 'DequantizeLinear'
        else []
        for node in producers
    ]


def stored(graph: Graph, node: onnx.NodeProto) -> str:
    """What the second operand is dequantized from."""
    return graph.producer(node.input[1]).input[0]


@pytest.mark.parametrize(
    ('backend', 'signs'),
    [
        ('onnxruntime', []),
        ('onnxruntime_full', [False, False]),
        ('openvino', []),
        ('openvino_full', [False, True]),
    ],
)
def test_product_of_attention(backend, signs, tmp_path):
    detector = quantized_detector(backend, AttentionDetector())
    x = sample_inputs()
    profile = profile_of(backend)
    model, _ = build_model(detector, profile, x, dynamic=False)
    found_qparams = matmul_qparams(model)
    assert [
        qparams.signed for operand in found_qparams for qparams in operand
    ] == signs or not signs
    assert len(found_qparams[0]) == bool(signs)
    onnx.save(model, tmp_path / 'a.onnx')
    engine = open_engine(profile.engine, tmp_path / 'a.onnx', 1)
    simulation = open_engine('simulation', tmp_path / 'a.onnx', 1)
    if profile.engine == 'onnxruntime':  # OpenVINO computes so small a product in another kernel
        assert engine.count_layers()[0] == (4 if signs else 3)
    (result,) = measure_parity(engine, simulation, ExportedSubgraph(detector).eval(), x)
    assert min(result.file_db, result.model_db) > 30


class LayeredAttentionHead(nn.Module):
    """As above, with an attention that is known as such."""

    def __init__(self):
        super().__init__()
        self.block = Attention(32, 2)
        self.scores = nn.Linear(32, 80)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = x.flatten(2).transpose(1, 2)
        return [self.scores(self.block(x, x, x))]


@pytest.mark.parametrize('backend', ['onnxruntime_full', 'openvino_full'])
def test_simulated_products_are_those_of_the_file(backend):
    detector = AttentionDetector()
    detector.bbox_head = LayeredAttentionHead()
    quantized_detector(backend, detector)
    quantizers = product_quantizers(detector)
    assert len(quantizers) == 4
    assert all(quantizer.scale > 0 for quantizer in quantizers.values())
    model, _ = build_model(detector, profile_of(backend), sample_inputs(), dynamic=False)
    graph = Graph(model)
    products = [n for n in graph.of_type('MatMul') if is_activation_matmul(graph, n)]
    pairs = [
        qparams_of_pair(graph, graph.producer(graph.producer(name).input[0]))
        for node in products
        for name in node.input
    ]
    assert [(q.scale, q.zero_point, q.signed) for q in pairs] == [
        (q.scale.item(), q.zero_point.item(), bool(q.scheme.signed)) for q in quantizers.values()
    ]
