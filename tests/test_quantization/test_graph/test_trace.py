"""What the tracer sees: order, roles, BatchNorms, second consumers."""

import torch
from torch import nn

from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.layers import QUANT_LAYERS


class Net(nn.Module):
    """A stem, a residual block, a head shared by two levels, and a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Conv2d(1, 1, 1)
        self.head = nn.Conv2d(4, 2, 1)
        self.bn2 = nn.BatchNorm2d(4)
        self.bn1 = nn.BatchNorm2d(4)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.tap = nn.Conv2d(4, 4, 1)
        self.bn3 = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.bn1(self.stem(x)).relu()
        x = self.bn2(self.conv(x)).relu_() + x
        y = self.tap(x)
        y = self.bn3(y) + y
        return self.head(y), self.head(nn.functional.max_pool2d(y, 2))


def trace(net, x):
    return trace_layers(net.eval(), tuple(QUANT_LAYERS), lambda: net(x))


def test_order_and_calls():
    record = trace(Net(), torch.randn(1, 3, 8, 8))
    assert list(record.layers) == ['stem', 'conv', 'tap', 'head']
    assert [layer.calls for layer in record.layers.values()] == [1, 1, 1, 2]


def test_roles():
    layers = trace(Net(), torch.randn(1, 3, 8, 8)).layers
    assert [name for name, layer in layers.items() if layer.is_first] == ['stem']
    assert [name for name, layer in layers.items() if not layer.feeds_layer] == ['head']


def test_norms_by_what_runs_not_by_attribute_order():
    record = trace(Net(), torch.randn(1, 3, 8, 8))
    assert record.norm_inputs == {'bn1': {'stem'}, 'bn2': {'conv'}, 'bn3': {'tap'}}
    assert record.layers['tap'].other_uses == 1
    assert record.layers['stem'].other_uses == record.layers['conv'].other_uses == 0


def test_indices_carry_no_features():
    """A layer whose output only chooses positions (proposals) is a head output."""

    class Chooser(nn.Module):
        def __init__(self):
            super().__init__()
            self.score = nn.Conv1d(2, 1, 1)
            self.last = nn.Linear(2, 2)

        def forward(self, x):
            best = self.score(x)[0, 0].topk(3).indices
            return self.last(x[0].t()[best])

    net = Chooser()
    layers = trace(net, torch.randn(1, 2, 8)).layers
    assert not layers['score'].feeds_layer
    assert layers['last'].is_first


def test_hooks_are_removed():
    net = Net()
    trace(net, torch.randn(1, 3, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
