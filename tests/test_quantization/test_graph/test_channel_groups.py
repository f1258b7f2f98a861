"""Layers that share channels are found by following tensors from layer to layer."""

import torch
from torch import nn

from mmptq.quantization.graph.channel_groups import ChannelGroup, find_channel_groups


class Net(nn.Module):
    """Layers by name, and a function of them that is the forward."""

    def __init__(self, run, **layers):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.run(self, x)


def groups_of(run, **layers):
    net = Net(run, **layers).eval()
    return find_channel_groups(layers, lambda: net(torch.randn(1, 3, 8, 8)))


def conv(inputs, outputs, **kwargs):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **kwargs)


def test_chain_with_relu_and_pooling():
    def run(net, x):
        x = torch.max_pool2d(net.a(x).relu_(), 2)
        return net.c(torch.nn.functional.interpolate(net.b(x), scale_factor=2).relu())

    found = groups_of(run, a=conv(3, 4), b=conv(4, 5), c=conv(5, 2))
    assert found == [ChannelGroup(['a'], ['b']), ChannelGroup(['b'], ['c'])]


def test_residual_stream_is_one_group():
    def run(net, x):
        x = net.stem(x).relu()
        x = (net.conv2(net.conv1(x).relu_()) + x).relu_()
        return net.head(x)

    found = groups_of(run, stem=conv(3, 4), conv1=conv(4, 6), conv2=conv(6, 4), head=conv(4, 2))
    assert ChannelGroup(['stem', 'conv2'], ['conv1', 'head']) in found
    assert ChannelGroup(['conv1'], ['conv2']) in found
    assert len(found) == 2


def test_a_layer_may_write_what_it_reads():
    def run(net, x):
        x = net.stem(x).relu()
        return net.head(net.mix(x) + x)

    found = groups_of(run, stem=conv(3, 4), mix=conv(4, 4), head=conv(4, 2))
    assert found == [ChannelGroup(['stem', 'mix'], ['mix', 'head'])]


def test_depthwise_layers_hand_channels_on():
    def run(net, x):
        return net.c(net.b(net.a(x).relu()).relu())

    found = groups_of(run, a=conv(3, 4), b=conv(4, 4, groups=4), c=conv(4, 2))
    assert found == [ChannelGroup(['a'], ['c'], ['b'])]


def test_other_operators_end_a_group():
    for end in (torch.sigmoid, lambda x: x + 1, lambda x: x * x, nn.functional.silu):
        assert not groups_of(lambda net, x, f=end: net.b(f(net.a(x))), a=conv(3, 4), b=conv(4, 2))
        # Also where a layer reads the same channels beside it.
        assert not groups_of(
            lambda net, x, f=end: (net.b(net.a(x)), f(net.a(x))), a=conv(3, 4), b=conv(4, 2)
        )


def test_grouped_layers_and_unknown_inputs_end_a_group():
    def run(net, x):
        return net.b(net.a(x))

    assert not groups_of(run, a=conv(3, 4), b=conv(4, 2, groups=2))
    assert not groups_of(lambda net, x: net.a(x) + net.a(net.a(x)), a=conv(3, 3))


def test_linear_layers_of_a_head():
    def run(net, x):
        return net.b(net.a(x.mean((2, 3))).relu())

    assert groups_of(run, a=nn.Linear(3, 4), b=nn.Linear(4, 2)) == [ChannelGroup(['a'], ['b'])]
