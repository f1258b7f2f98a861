"""Noise and clipping of layer inputs, by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mmptq.ptq.checks.input_ranges import NUM_BINS, input_ranges
from mmptq.ptq.context import PTQContext
from mmptq.ptq.run import prepare_model


class Net(nn.Module):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)


def test_by_hand(tmp_path):
    torch.manual_seed(0)
    model = Net().eval()
    batches = [torch.tensor([[0.0, 1.0, 2.4, 9.0]])]
    ctx = PTQContext(model, batches, Path(tmp_path), 0)
    quantizer = dict(weight=dict(bits=8), act=dict(bits=2), rules=[])
    prepare_model(ctx, quantizer)
    layer = model.layer
    for slot in (layer.weight_quantizer, layer.input_quantizer):
        slot.set_qparams(torch.ones_like(slot.scale), torch.zeros_like(slot.zero_point))
    (row,) = input_ranges(ctx)
    # The grid is 0, 1, 2, 3: the errors are 0, 0, 0.4 and 6.
    assert row['noise'] == pytest.approx((0.16 + 36) / (1 + 5.76 + 81))
    assert [row[key] for key in ('low', 'high', 'smallest', 'largest')] == [0, 3, 0, 9]
    assert row['clipped'] == 0.25 and row['edges'] == [0, 9]
    assert sum(row['counts']) == 4 and len(row['counts']) == NUM_BINS
