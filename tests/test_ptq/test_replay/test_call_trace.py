"""Which calls a change in a layer reaches."""

import pytest
import torch
from branching_net import BranchingNet
from torch import nn

from mmptq.ptq.replay.call_trace import CHUNK, fingerprint, trace_calls, unaffected_calls
from mmptq.quantization import QScheme
from mmptq.quantization.layers.registry import quant_type_of


@pytest.fixture
def case():
    torch.manual_seed(0)
    return BranchingNet().eval(), [torch.randn(2, 3, 8, 8)]


def test_unaffected_calls_follow_the_data(case):
    net, inputs = case
    run = lambda: net(inputs[0])  # noqa: E731
    calls, _ = trace_calls(net, run)
    clean = unaffected_calls(net, run, net.left, calls)
    assert (net.head, 1) in clean
    assert (net.head, 0) not in clean
    assert {(net.stem, 0), (net.right, 0), (net.gate, 0)} <= clean
    assert (net, 0) not in clean


@torch.no_grad()
def test_quantizers_are_parts_of_layers(case):
    net, inputs = case
    net.left.__class__ = quant_type_of(nn.Conv2d)
    net.left.attach(QScheme(channel_axis=0), QScheme())
    run = lambda: net(inputs[0])  # noqa: E731
    calls, _ = trace_calls(net, run)
    assert not {(net.left.weight_quantizer, 0), (net.left.input_quantizer, 0)} & calls.keys()
    clean = unaffected_calls(net, run, net.right, calls)
    assert (net.left, 0) in clean


def test_parents_and_numbers_of_calls(case):
    net, inputs = case
    calls, output = trace_calls(net, lambda: net(inputs[0]))
    assert calls[(net.stem[0], 0)].parents == ((net, 0), (net.stem, 0))
    assert (net.head, 1) in calls and (net.head, 2) not in calls
    for x, y in zip(output, net(inputs[0]), strict=True):
        torch.testing.assert_close(x, y)
    assert not any(module._forward_hooks for module in net.modules())


def test_fingerprints():
    x = torch.randn(3, 4)
    assert fingerprint([x, dict(a=x)]) == fingerprint([x.clone(), dict(a=x.clone())])
    y = x.clone()
    y[1, 2] = torch.nextafter(y[1, 2], torch.tensor(10.0))
    assert fingerprint(x) != fingerprint(y)
    assert fingerprint(x) != fingerprint(x.view(4, 3))
    assert fingerprint(x) != fingerprint(x.flip(0))
    assert fingerprint(x) != fingerprint(x.flatten()[torch.randperm(12)].view(3, 4))
    for kind in (torch.float16, torch.float64, torch.int32, torch.bool):
        assert fingerprint(x.to(kind)) == fingerprint(x.clone().to(kind))
    # Nothing to replay, or not to be compared.
    assert fingerprint(None) is None
    assert fingerprint([x, object()]) is None


def test_the_order_of_long_tensors_matters():
    x = torch.arange(2 * CHUNK + 5)
    for y in (x.flip(0), x.roll(CHUNK), x.roll(1), torch.cat([x[CHUNK:], x[:CHUNK]])):
        assert fingerprint(x) != fingerprint(y)
