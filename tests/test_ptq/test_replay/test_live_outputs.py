"""Which replayed outputs are read."""

from collections import Counter, defaultdict

import torch
from torch import nn

from mmptq.ptq.replay.live_outputs import live_outputs


class Chain(nn.Module):
    """Modules that only modules read, and one that an operator reads."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.side = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        return self.second(self.first(x)), self.side(x) + 1


@torch.no_grad()
def test_readers():
    net, x = Chain(), torch.randn(1, 3, 4, 4)
    keys = [(net.first, 0), (net.second, 0), (net.side, 0)]

    def read(replayed, pending=()):
        outputs = {key: torch.randn(1, 3, 4, 4) for key in replayed}
        inside = defaultdict(Counter)
        return live_outputs(net, lambda: net(x), outputs, inside, set(pending))

    # What is returned is read, what an operator takes as well.
    assert read(keys) == {(net.second, 0), (net.side, 0)}
    # A module that runs reads its arguments, and one that will run does.
    assert read(keys[:1]) == {(net.first, 0)}
    assert read(keys, {net.second}) == set(keys)
    assert not any(module._forward_pre_hooks for module in net.modules())
