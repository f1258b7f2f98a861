"""What is said of each layer, and how many bytes a model takes."""

import torch
from helpers import QUANTIZER
from torch import nn

from mmptq.quantization import coverage_rows, make_plan


def test_coverage_says_why_a_layer_is_float():
    net = nn.Sequential(
        nn.Conv2d(3, 20, 1), nn.BatchNorm2d(20), nn.ReLU(), nn.BatchNorm2d(20), nn.Conv2d(20, 4, 1)
    ).eval()
    rules = [dict(role='last', weight=None, act=None, reason='head output')]
    plan = make_plan(net, dict(QUANTIZER, rules=rules), lambda: net(torch.randn(1, 3, 4, 4)))
    rows = {row['layer']: row for row in coverage_rows(plan)}
    assert rows['0']['weight'] == 'int8 sym narrow per-channel'
    assert rows['0']['input'] == 'uint8 asym per-tensor'
    assert rows['0']['note'] == '+ 1'
    assert rows['4']['weight'] == rows['4']['input'] == 'float'
    assert rows['4']['note'] == 'head output'
    assert rows['3']['kind'] == 'BatchNorm'
    assert 'not folded: its input is not directly' in rows['3']['note']
