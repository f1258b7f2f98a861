"""Folding keeps the function, and is refused where it would not."""

import copy

import pytest
import torch
from torch import nn

from mmptq.quantization.graph.fold_bn import find_foldable, fold_bn, remove_folded
from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.layers import QUANT_LAYERS, quant_type_of


def randomise(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return net.eval()


def foldable(net, x):
    return find_foldable(net, trace_layers(net, tuple(QUANT_LAYERS), lambda: net(x)))


@pytest.mark.parametrize(
    ('layer', 'norm', 'shape'),
    [
        (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), (2, 3, 6, 6)),
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), (2, 3, 6, 6)),
        (nn.Conv2d(4, 4, 3, groups=4), nn.SyncBatchNorm(4), (2, 4, 6, 6)),
        (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), (2, 3, 6)),
        (nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), (2, 3, 6, 6, 6)),
        (nn.ConvTranspose2d(3, 4, 2, 2, bias=False), nn.BatchNorm2d(4), (2, 3, 6, 6)),
        (nn.Linear(3, 4), nn.BatchNorm1d(4), (2, 3)),
    ],
)
def test_same_function(layer, norm, shape):
    net = randomise(nn.Sequential(layer, norm, nn.ReLU()))
    x = torch.randn(shape)
    with torch.no_grad():
        expected = net(x)
        pairs, refused = foldable(net, x)
        assert (pairs, refused) == ([('0', '1')], {})
        unfolded = copy.deepcopy(net)
        fold_bn(net, pairs)
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)
    remove_folded(unfolded, pairs)
    assert unfolded.state_dict().keys() == net.state_dict().keys()
    unfolded.load_state_dict(net.state_dict())


def test_sparse_same_function():
    spconv = pytest.importorskip('spconv.pytorch')
    conv = spconv.SubMConv3d(4, 6, 3, bias=False)
    net = randomise(spconv.SparseSequential(conv, nn.BatchNorm1d(6), nn.ReLU()))
    indices = torch.tensor([[0, i, i % 3, 2] for i in range(6)]).int()
    x = spconv.SparseConvTensor(torch.randn(6, 4), indices, [6, 6, 6], 1)
    with torch.no_grad():
        expected = net(x).features
        pairs, refused = foldable(net, x)
        assert (pairs, refused) == ([('0', '1')], {})
        fold_bn(net, pairs)
        # spconv's own inference path has no bias on a CPU; the quantized version has.
        conv.__class__ = quant_type_of(type(conv))
        conv.attach(None, None)
        torch.testing.assert_close(net(x).features, expected, rtol=1e-4, atol=1e-5)


class TwoConsumers(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + y


class SharedConv(nn.Module):
    """One convolution with a BatchNorm per level, as in RTMDet's head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.bns = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x):
        return [bn(self.conv(x)) for bn in self.bns]


class SharedBoth(SharedConv):
    """The same convolution and BatchNorm on two levels can be folded."""

    def forward(self, x):
        return [self.bns[0](self.conv(x)), self.bns[0](self.conv(x[..., :2]))]


class SharedNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.bn(self.a(x)) + self.bn(self.b(x))


class NormFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.bn(x))


class ReluBetween(NormFirst):
    def forward(self, x):
        return self.bn(self.conv(x).relu())


class NoStatistics(NormFirst):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        return self.bn(self.conv(x))


@pytest.mark.parametrize(
    ('net', 'reason'),
    [
        (TwoConsumers(), 'second consumer'),
        (SharedConv(), 'shared by several BatchNorms'),
        (SharedNorm(), 'follows several layers'),
        (NormFirst(), 'not directly the output'),
        (ReluBetween(), 'not directly the output'),
        (
            nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
            'no running',
        ),
    ],
)
def test_refused_with_a_reason(net, reason):
    x = torch.randn(2, 3, 4, 4)
    pairs, refused = foldable(randomise(net), x)
    assert pairs == []
    assert refused
    assert all(reason in text for text in refused.values())


def test_shared_pair_is_folded_once():
    net = randomise(SharedBoth())
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        expected = net(x)
        pairs, _ = foldable(net, x)
        assert pairs == [('conv', 'bns.0')]
        fold_bn(net, pairs)
        for got, want in zip(net(x), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
