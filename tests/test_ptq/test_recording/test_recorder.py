"""Recorded tensors are those of the moment, whatever happens to them later."""

import torch
from torch import nn

from mmptq.ptq.recording.recorder import record_calls


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.finished = 0

    def forward(self, x):
        y = self.conv(x)
        expected = y.detach().clone()
        x.add_(100)
        y.relu_().mul_(0)
        z = self.conv(x)
        self.finished += 1
        return expected, z


def test_in_place_operations_do_not_reach_the_record():
    model, x = Twice(), torch.randn(1, 1, 2, 2)
    before = x.clone()
    results = []
    calls = record_calls(model.conv, lambda: results.append(model(x)), 3)
    assert len(calls) == 2
    assert torch.equal(calls[0].args[0], before)
    assert torch.equal(calls[0].output, results[0][0])
    assert torch.equal(calls[1].args[0], before + 100)
    assert not calls[0].output.requires_grad


def test_nothing_runs_after_the_last_call():
    model, x = Twice(), torch.randn(1, 1, 2, 2)
    assert len(record_calls(model.conv, lambda: model(x), 2)) == 2
    assert model.finished == 0
    calls = record_calls(model.conv, lambda: model(x), 1, outputs=False)
    assert len(calls) == 1
    assert calls[0].output is None
    assert not model.conv._forward_hooks
    assert not model.conv._forward_pre_hooks
