"""Stopping a forward pass at a module."""

import pytest
import torch
from torch import nn

from mmptq.utils.stop_forward import StopForward, output_of


def test_output_of_a_part():
    ran = []
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5))
    net[2].register_forward_hook(lambda *_: ran.append(2))
    x = torch.randn(1, 2)
    torch.testing.assert_close(output_of(net[1], lambda: net(x)), net[1](net[0](x)))
    assert not ran
    net(x)
    assert ran == [2]


def test_a_module_that_does_not_run():
    with pytest.raises(RuntimeError, match='Linear did not run'):
        output_of(nn.Linear(1, 1), lambda: None)


def test_a_stop_of_another_hook_passes_through():
    def stop(*_):
        raise StopForward

    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    net[0].register_forward_hook(stop)
    with pytest.raises(StopForward):
        output_of(net[1], lambda: net(torch.randn(1, 2)))
