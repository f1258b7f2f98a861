"""Replaying what a layer does not reach gives the outputs of running everything."""

import pytest
import torch
from branching_net import BranchingNet
from torch import nn

from mmptq.ptq.replay.replay import Replay


@pytest.fixture
def case():
    torch.manual_seed(0)
    net = BranchingNet().eval()
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: net.ran.append(name))
    inputs = [torch.randn(2, 3, 8, 8) for _ in range(3)]
    return net, inputs


def layers(net: BranchingNet) -> list[nn.Module]:
    return [net.stem[0], net.right[0], net.left, net.gate, net.head]


@pytest.mark.parametrize('enabled', [True, False])
@torch.no_grad()
def test_outputs_are_those_of_running_everything(case, tmp_path, enabled):
    net, inputs = case
    todo, seen = layers(net), []
    with Replay(net, lambda i: net(inputs[i]), 3, 2**20, tmp_path, enabled) as replay:
        for index, layer in enumerate(todo):
            seen.clear()
            assert replay.prepare(layer, set(todo[index:]), lambda i, args: seen.append((i, args)))
            calls = 2 if layer is net.head else 1
            assert [i for i, _ in seen] == sorted([0, 1, 2] * calls)
            layer.weight.mul_(1.5)  # what is in focus changes, and stays changed
            for sample in (2, 0, 1):
                got = replay.run(sample)
                for x, y in zip(got, net(inputs[sample]), strict=True):
                    torch.testing.assert_close(x, y)
    for module in net.modules():
        assert 'forward' not in module.__dict__


@torch.no_grad()
def test_only_what_changes_runs(case, tmp_path):
    net, inputs = case
    todo = layers(net)
    with Replay(net, lambda i: net(inputs[i]), 3, 2**20, tmp_path) as replay:
        replay.prepare(net.left, set(todo), lambda i, args: None)
        net.ran.clear()
        replay.run(1)
        # Calls that are replayed still pass through hooks, what is inside of them does not.
        assert 'stem.0' not in net.ran and 'right.0' not in net.ran


class Chain(nn.Module):
    """Three layers in a row, and not in a container."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        return self.third(self.second(self.first(x)))


@torch.no_grad()
def test_only_outputs_that_are_read_are_kept(tmp_path):
    net, x = Chain(), torch.randn(1, 3, 4, 4)
    with Replay(net, lambda i: net(x), 1, 2**20, tmp_path) as replay:
        replay.prepare(net.third, {net.third}, lambda i, args: None)
        entries = replay._record.entries[0]
        assert isinstance(entries[(net.second, 0)], int)  # its place in the cache
        assert not isinstance(entries[(net.first, 0)], int)
        torch.testing.assert_close(replay.run(0), net(x))
        # Going back is not planned for, but nothing is wrong then, either.
        replay.prepare(net.second, {net.second}, lambda i, args: None)
        net.second.weight.mul_(2)
        torch.testing.assert_close(replay.run(0), net(x))


def test_a_layer_that_does_not_run(case, tmp_path):
    net, inputs = case
    net.unused = nn.Conv2d(1, 1, 1)
    with Replay(net, lambda i: net(inputs[i]), 3, 2**20, tmp_path) as replay:
        assert not replay.prepare(net.unused, set(), lambda i, args: None)
        for x, y in zip(replay.run(0), net(inputs[0]), strict=True):
            torch.testing.assert_close(x, y)


@torch.no_grad()
def test_a_small_budget_goes_to_a_file(case, tmp_path):
    net, inputs = case
    with Replay(net, lambda i: net(inputs[i]), 3, 2000, tmp_path) as replay:
        replay.prepare(net.head, {net.head}, lambda i, args: None)
        assert list(tmp_path.iterdir())
        for x, y in zip(replay.run(2), net(inputs[2]), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-2, atol=1e-2)  # half precision
    assert not list(tmp_path.iterdir())
