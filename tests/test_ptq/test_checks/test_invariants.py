"""With quantizers off the converted model is the float one; what would change it is left out."""

import pytest
import torch
from odd_models import ConvBN, context, notes, random_model, samples
from odd_norms import FOLDED, NOT_FOLDED, ConvWithHook, Plain, ReadsBias
from odd_weights import KEPT_FLOAT
from torch import nn

import mmptq
from mmptq.ptq import Calibrator
from mmptq.quantization import QuantMixin, freeze, quantizers_off
from mmptq.utils.trees import tensors_in


def outputs(model, x) -> list[torch.Tensor]:
    return list(tensors_in(model(x)))


@pytest.mark.parametrize('cls', [*FOLDED, *KEPT_FLOAT, *NOT_FOLDED])
def test_folding_and_conversion_change_nothing(cls):
    model = random_model(cls)
    with torch.no_grad():
        expected = [outputs(random_model(cls), x) for x in samples(3)]
    ctx = context(model)
    with torch.no_grad(), quantizers_off(model):
        for x, y in zip(samples(3), expected, strict=True):
            torch.testing.assert_close(outputs(model, x), y, rtol=1e-4, atol=1e-4)
    kept, folded = cls in KEPT_FLOAT, cls not in KEPT_FLOAT + NOT_FOLDED
    assert ctx.plan.folded == ([('conv', 'bn')] if folded else [])
    assert isinstance(model.conv, QuantMixin) is not kept
    assert notes(ctx)['conv'] if kept else True
    assert folded or notes(ctx)['bn'].startswith('not folded: ')
    assert {'stem', 'head'} <= set(ctx.layers)


@pytest.mark.parametrize('cls', [Plain, *KEPT_FLOAT, *NOT_FOLDED])
def test_what_is_frozen_is_what_was_observed(cls, tmp_path):
    """After freezing, a forward gives what it gave before, and again, and after loading."""
    model = random_model(cls)
    ctx = context(model)
    Calibrator().run(ctx)
    with torch.no_grad():
        before = outputs(model, samples()[0])
        freeze(model)
        torch.testing.assert_close(outputs(model, samples()[0]), before)
        torch.testing.assert_close(outputs(model, samples()[0]), before)
    again = mmptq.quantize(random_model(cls), samples(), work_dir=tmp_path)
    loaded = mmptq.load(random_model(cls), tmp_path / 'quantized.pth')
    with torch.no_grad():
        torch.testing.assert_close(*(outputs(m, samples()[0]) for m in (loaded, again)))


def test_reason_of_what_nobody_thought_of():
    ctx = context(random_model(ConvWithHook))
    assert notes(ctx)['bn'] == ("not folded: folding it into conv changes the output of 'bn'")
    ctx = context(random_model(ReadsBias))
    assert 'folding it into conv changes' in notes(ctx)['bn']


def test_a_layer_that_changes_by_conversion_alone_stays_float():
    class ByType(ConvBN):
        def middle(self, x):
            return self.bn(self.conv(x)) if type(self.conv) is nn.Conv2d else x

    model = random_model(ByType)
    ctx = context(model)
    assert type(model.conv) is nn.Conv2d
    assert 'even with quantizers off' in notes(ctx)['conv']
    assert type(model.bn) is nn.BatchNorm2d


def test_random_networks_are_not_refused(caplog):
    class Random(ConvBN):
        noise = 0

        def middle(self, x):
            self.noise += 1
            return super().middle(x) * self.noise

    ctx = context(random_model(Random))
    assert ctx.plan.folded == [('conv', 'bn')]


def test_hooks_of_a_folded_norm_still_run():
    model = random_model(Plain)
    kept = []
    model.bn.register_forward_hook(lambda module, args, y: kept.append(y))
    ctx = context(model)
    kept.clear()
    model(samples()[0])
    assert len(kept) == 1
    assert ctx.plan.folded == [('conv', 'bn')]
