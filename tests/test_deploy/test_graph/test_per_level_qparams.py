"""One scale per pyramid level for layers that all levels share."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from deploy_models import profile_of, quantized_detector, sample_inputs
from torch import Tensor, nn

from mmptq.deploy import ExportedSubgraph, build_model, open_engine
from mmptq.deploy.graph.graph import Graph
from mmptq.deploy.graph.qdq import TensorQParams, qparams_of_pair
from mmptq.deploy.parity import measure_parity


class Levels(nn.Module):
    """Two maps; the second may have fewer positions, and has ten times smaller values."""

    def __init__(self, stride: int):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.down = nn.Conv2d(16, 16, 3, stride, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(x))
        return x, F.relu(self.down(x))


class SharedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(16, 80, 3, 1, 1)

    def forward(self, feats: tuple[Tensor, ...]) -> list[Tensor]:
        return [self.shared(x) for x in feats]


class Pyramid(nn.Module):
    def __init__(self, stride: int = 2):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.bbox_head = Levels(stride), SharedHead()
        self.backbone.down.weight.data.mul_(0.1)
        self.backbone.down.bias.data.mul_(0.1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.bbox_head(self.backbone(x))


def head_qparams(graph: Graph) -> list[TensorQParams]:
    """The grids that the calls of the head take their inputs in, in order."""
    layers = [n for n in graph.of_type('Conv') if n.input[1].startswith('bbox_head.shared.weight')]
    pairs = [graph.producer(graph.producer(node.input[0]).input[0]) for node in layers]
    return [qparams_of_pair(graph, pair) for pair in pairs]


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_each_level_has_the_range_that_it_uses(backend, tmp_path):
    detector = quantized_detector(backend, Pyramid())
    model, observed = build_model(detector, profile_of(backend), sample_inputs(), False)
    wide, narrow = head_qparams(Graph(model))
    assert wide == TensorQParams.of(detector.bbox_head.shared.input_quantizer)
    assert narrow.scale < 0.3 * wide.scale
    assert vars(narrow) in observed.values()
    onnx.save(model, tmp_path / 'a.onnx')
    engine = open_engine(backend, tmp_path / 'a.onnx', 1)
    simulation = open_engine('simulation', tmp_path / 'a.onnx', 1)
    x = sample_inputs()
    results = measure_parity(engine, simulation, ExportedSubgraph(detector).eval(), x)
    assert min(result.model_db for result in results) > 25
    assert engine.count_layers()[1] == 0
    # The coarse level is closer to float than in the model, where both have one scale.
    with torch.no_grad():
        reference, simulated = Pyramid().eval()(x[0])[1], detector(x[0])[1]
    deployed = torch.from_numpy(engine.run(x[0].numpy())[1])
    error = (deployed - reference).square().mean()
    assert error < 0.7 * (simulated - reference).square().mean()


def test_calls_at_one_size_keep_one_grid():
    detector = quantized_detector('openvino', Pyramid(stride=1))
    model, observed = build_model(detector, profile_of('openvino'), sample_inputs(), False)
    first, second = head_qparams(Graph(model))
    assert first == second == TensorQParams.of(detector.bbox_head.shared.input_quantizer)
    assert observed == {}
