"""A weight that several layers own has one quantizer and is rounded once."""

import copy

import pytest
import torch
from helpers import QUANTIZER
from odd_models import ConvBN, context, notes, random_model
from torch import nn

from mmptq.ptq import Calibrator, Reconstructor
from mmptq.ptq.units.ada_round import AdaRound
from mmptq.quantization import (
    HardRounding,
    freeze,
)


class AllTied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)
        self.b = nn.Conv2d(3, 3, 1, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.bn(self.a(x)).relu())


def test_tied_weights_are_rounded_once():
    model = random_model(AllTied)
    ctx = context(model)
    Calibrator().run(ctx)
    assert notes(ctx)['bn'] == 'not folded: a shares its weight with b'
    quantizer = model.a.weight_quantizer
    assert model.b.weight_quantizer is quantizer
    quantizer.rounding = HardRounding(torch.ones_like(model.a.weight, dtype=torch.bool))
    expected = quantizer(model.a.weight).detach()
    assert not torch.equal(expected, quantizer(expected))  # a second rounding would show
    freeze(model)
    assert torch.equal(model.a.weight, expected)
    assert model.a.weight is model.b.weight


@pytest.mark.parametrize('granularity', ['layer', 'block'])
def test_tied_weights_are_learned_once(granularity, tmp_path, monkeypatch):
    begun = []
    begin = AdaRound.begin
    monkeypatch.setattr(AdaRound, 'begin', lambda self, w, q: begun.append(q) or begin(self, w, q))
    model = random_model(AllTied)
    ctx = context(model)
    ctx.work_dir = tmp_path
    Calibrator().run(ctx)
    Reconstructor(granularity, num_iters=3, batch_size=1).run(ctx)
    assert begun == [model.a.weight_quantizer]
    rounding = model.a.weight_quantizer.rounding
    assert rounding is None or isinstance(rounding, HardRounding)


def test_tied_weight_with_quantizers_of_their_own_is_rounded_once():
    model = random_model(AllTied)
    ctx = context(model)
    Calibrator().run(ctx)
    model.b.weight_quantizer = copy.deepcopy(model.a.weight_quantizer)
    for layer in (model.a, model.b):
        up = torch.ones_like(layer.weight, dtype=torch.bool)
        layer.weight_quantizer.rounding = HardRounding(up)
    expected = model.a.weight_quantizer(model.a.weight).detach()
    freeze(model)
    assert torch.equal(model.a.weight, expected)


@pytest.mark.parametrize('name', ['a', 'b'])
@pytest.mark.parametrize(
    'weight',
    [
        dict(bits=4),
        dict(symmetric=False, signed=False, narrow=False),
        dict(per_channel=False),
        None,
    ],
)
def test_tied_weight_has_one_scheme(name, weight):
    rules = [dict(name=name, weight=weight)]
    ctx = context(random_model(AllTied), quantizer=dict(QUANTIZER, rules=rules))
    a, b = (next(plan for plan in ctx.plan.layers if plan.name == key) for key in 'ab')
    plain = context(random_model(AllTied)).plan.layers[0].weight
    assert a.weight == b.weight and (a.weight == plain) == (name == 'b')
    assert ctx.model.a.weight_quantizer is ctx.model.b.weight_quantizer
    assert notes(ctx)['b'] == 'weight as that of a, which shares it'


def test_weight_tied_with_an_embedding_stays_float():
    class Tied(ConvBN):
        def change(self):
            self.words = nn.Embedding(5, 4)
            self.out = nn.Linear(4, 5)
            self.out.weight = self.words.weight

        def forward(self, x):
            return self.out(super().forward(x).mean((2, 3))), self.words(torch.tensor([1]))

    ctx = context(random_model(Tied))
    assert notes(ctx)['out'] == 'its weight is shared with words'
    assert type(ctx.model.out) is nn.Linear
