"""The plan does not depend on which sample comes first."""

import json

import torch
from helpers import QUANTIZER
from odd_models import ConvBN, context, notes, random_model, samples
from odd_norms import Plain
from torch import nn

import mmptq


class TwoStage(nn.Module):
    """The second stage runs on positions with a high score only."""

    def __init__(self):
        super().__init__()
        self.unused, self.unused_bn = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.mask = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.stem = nn.Conv2d(3, 8, 1)
        self.box = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.stem(x)
        rows = y[x[:, :1].expand_as(y) > 5]
        if len(rows):
            y = self.mask(self.box(y.movedim(1, -1)).movedim(-1, 1))
        return self.last(y)


def test_the_plan_does_not_depend_on_the_first_sample():
    few, many = samples()
    many[0, 0] = 6
    plans = []
    for batches in ([few, few, many], [many, few, few], [few, many, few]):
        ctx = context(random_model(TwoStage), batches)
        plans.append(ctx.plan)
    assert plans[0] == plans[1] == plans[2]
    assert [plan.samples for plan in plans] == [(0, 2), (0,), (0, 1)]
    assert [plan.name for plan in plans[0].layers] == ['stem', 'box', 'mask.0', 'last', 'unused']
    assert plans[0].folded == [('mask.0', 'mask.1')]
    reason = 'never executed in predict mode'
    assert notes(ctx)['unused'] == reason
    assert notes(ctx)['unused_bn'] == f'not folded: {reason}'
    assert set(ctx.layers) == {'stem', 'box', 'mask.0', 'last'}


def test_a_rule_for_a_layer_that_never_runs_does_no_harm():
    many = samples()[0]
    many[0, 0] = 6
    for rule in (dict(weight=None, act=None), dict(weight=dict(bits=4))):
        rules = [dict(name='unused', **rule)]
        ctx = context(random_model(TwoStage), [many], dict(QUANTIZER, rules=rules))
        assert 'unused' not in ctx.layers


def test_a_weight_that_is_read_but_never_called():
    class Decomposed(ConvBN):
        """As TaskDecomposition of TOOD."""

        def middle(self, x):
            weight = self.conv.weight.mean((2, 3))
            return self.bn(torch.einsum('oc,bchw->bohw', weight, x))

    ctx = context(random_model(Decomposed))
    assert notes(ctx)['conv'] == 'never executed in predict mode; other code uses its weight'


def test_how_long_checks_took(tmp_path):
    mmptq.quantize(random_model(Plain), samples(), 'int8', 'mse', work_dir=tmp_path)
    records = json.loads((tmp_path / 'run.json').read_text())['records']
    (rows,) = [record['rows'] for record in records if record['kind'] == 'checks']
    names = ['layers run', 'float outputs', 'quantizers run', 'coarse steps']
    assert [row['check'] for row in rows] == names
    assert all(row['seconds'] > 0 for row in rows)
