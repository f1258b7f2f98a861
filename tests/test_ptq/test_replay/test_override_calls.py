"""Calls that return something else."""

from collections import Counter

import pytest
import torch
from branching_net import BranchingNet

from mmptq.ptq.replay.override_calls import override_calls


@torch.no_grad()
def test_one_call_of_two_is_overridden():
    net, x = BranchingNet().eval(), torch.randn(1, 3, 8, 8)
    expected = net(x)
    key, other, told = (net.head, 1), torch.zeros(1, 4, 4, 4), []
    with override_calls(
        {key}, lambda key, args: other, {key: Counter()}, {key}, lambda *call: told.append(call[0])
    ):
        first, second = net(x)
    torch.testing.assert_close(first, expected[0])
    assert second is other
    assert told == [(net.head, 0), key]
    torch.testing.assert_close(net(x)[1], expected[1])


@torch.no_grad()
def test_calls_inside_of_overridden_ones_are_counted():
    net, x = BranchingNet().eval(), torch.randn(1, 3, 8, 8)
    net.again = torch.nn.Sequential(net.left)  # the same layer, inside of a container
    outer, inner = (net.again, 0), (net.left, 1)

    def run():
        y = net.stem(x)
        return net.again(y), net.left(y)

    keys = {outer: torch.zeros(1), inner: torch.ones(1)}
    inside = {outer: Counter({net.left: 1}), inner: Counter()}
    with override_calls(keys.keys(), lambda key, args: keys[key], inside):
        assert run() == (0, 1)


def test_modules_are_as_before_after_an_error():
    net = BranchingNet()
    net.left.forward = own = lambda x: x
    keys = {(net.left, 0), (net.head, 0)}
    with pytest.raises(KeyError), override_calls(keys, lambda key, args: None, {}):
        net(torch.randn(1, 3, 8, 8))
    assert net.left.forward is own
    assert 'forward' not in net.head.__dict__
