"""A run finds out by itself where quantization would change the network or not act at all."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import QUANTIZER
from mmengine.logging import MMLogger
from torch import nn
from torch.nn.utils import prune

import mmptq
from mmptq.ptq import Calibrator, PTQContext, Reconstructor
from mmptq.ptq.run import prepare_model
from mmptq.quantization import (
    FakeQuantizer,
    HardRounding,
    QuantizationError,
    QuantMixin,
    freeze,
    quantized_layers,
    quantizers_off,
)
from mmptq.quantization.coverage import coverage_rows


class ConvBN(nn.Module):
    """A convolution with BatchNorm between two others; subclasses change one thing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv, self.bn = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 4, 1)
        self.change()

    def change(self):
        pass

    def middle(self, x):
        return self.bn(self.conv(x))

    def forward(self, x):
        return self.head(self.middle(self.stem(x).relu()).relu())


def random_model(cls) -> nn.Module:
    torch.manual_seed(0)
    model = cls().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3)
            nn.init.uniform_(module.weight, 0.3, 3)
            nn.init.normal_(module.bias)
    return model


def samples(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 8, 8, generator=generator) for _ in range(count)]


def context(model, batches=None, quantizer=QUANTIZER) -> PTQContext:
    MMLogger.get_instance('test_invariants')
    ctx = PTQContext(model, samples() if batches is None else batches, Path(), seed=0)
    prepare_model(ctx, quantizer)
    return ctx


def notes(ctx) -> dict[str, str]:
    return {row['layer']: row['note'] for row in coverage_rows(ctx.plan)}


class Plain(ConvBN):
    pass


class Reflect(ConvBN):
    def change(self):
        self.conv = nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect')


class TwiceTheSamePair(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) + self.bn(self.conv(-x))


class WeightNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.parametrizations.weight_norm(self.conv)


class OldWeightNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.weight_norm(self.conv)


class SpectralNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.parametrizations.spectral_norm(self.conv)


class OldSpectralNorm(ConvBN):
    def change(self):
        self.conv = nn.utils.spectral_norm(self.conv)


class Pruned(ConvBN):
    def change(self):
        prune.random_unstructured(self.conv, 'weight', 0.5)


class BufferWeight(ConvBN):
    def change(self):
        weight = self.conv.weight.detach().clone()
        del self.conv.weight
        self.conv.register_buffer('weight', weight, persistent=False)


class HookWritesWeight(ConvBN):
    """The weight is a parameter, and a hook writes it in every forward."""

    def change(self):
        self.conv.register_buffer('base', self.conv.weight.detach().clone())
        self.conv.register_forward_pre_hook(lambda m, args: m.weight.data.copy_(m.base))


class HookReplacesWeight(ConvBN):
    def change(self):
        self.conv.register_buffer('base', self.conv.weight.detach().clone())

        def hook(module, args):
            module.weight = nn.Parameter(module.base.clone())

        self.conv.register_forward_pre_hook(hook)


class TiedWeight(ConvBN):
    def change(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = self.conv.weight

    def middle(self, x):
        return self.bn(self.conv(x)) + self.other(x)


class SharedMemory(TiedWeight):
    """Two parameters on one memory."""

    def change(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight.data = self.conv.weight.data


class FunctionalUse(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) + F.conv2d(x, self.conv.weight, padding=1)


class NormUsedTwice(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) + self.bn(x)


class NormReadElsewhere(ConvBN):
    def middle(self, x):
        return self.bn(self.conv(x)) * self.bn.weight.view(1, -1, 1, 1)


class NormInTrainMode(ConvBN):
    def train(self, mode=True):
        super().train(mode)
        self.bn.train()
        return self


class NoStatistics(ConvBN):
    def change(self):
        self.bn = nn.BatchNorm2d(8, track_running_stats=False)


class NormWithActivation(ConvBN):
    def change(self):
        class BatchNormAct(nn.BatchNorm2d):
            def forward(self, x):
                return F.leaky_relu(super().forward(x))

        self.bn = BatchNormAct(8)


class NormWithHook(ConvBN):
    def change(self):
        self.bn.register_forward_hook(lambda module, args, y: 2 * y)


class ConvWithHook(ConvBN):
    """Unknown to the plan: the hook of the convolution squares what the BatchNorm gets."""

    def change(self):
        self.conv.register_forward_hook(lambda module, args, y: y.square())


class OutputElsewhere(ConvBN):
    def forward(self, x):
        y = self.conv(self.stem(x).relu())
        return self.head(self.bn(y)), y


class OutputStashed(ConvBN):
    """What a hook keeps of the convolution is an output, without any operation on it."""

    def change(self):
        self.kept = None
        self.conv.register_forward_hook(lambda module, args, y: setattr(self, 'kept', y))

    def forward(self, x):
        return self.head(self.middle(self.stem(x))), dict(kept=self.kept)


class ReadsBias(ConvBN):
    """Code that looks at the layer: without BatchNorm there is no bias."""

    def middle(self, x):
        y = self.bn(self.conv(x))
        return y if self.conv.bias is None else 2 * y


class OtherWeightEachTime(ConvBN):
    def change(self):
        self.register_buffer('base', torch.randn(8, 8, 3, 3))

    def middle(self, x):
        return self.bn(torch.func.functional_call(self.conv, dict(weight=self.base), (x,)))


class DataReplaced(OtherWeightEachTime):
    def middle(self, x):
        self.conv.weight.data = self.base.clone()
        return self.bn(self.conv(x))


class WrittenUnseen(OtherWeightEachTime):
    """By an operator outside of torch's dispatcher."""

    def middle(self, x):
        self.conv.weight.detach().numpy()[:] = self.base.numpy()
        return self.bn(self.conv(x))


class ForwardOfItsOwn(ConvBN):
    def change(self):
        self.conv.forward = lambda x: 2 * F.conv2d(x, self.conv.weight, padding=1)


class ForwardCalledDirectly(ConvBN):
    def middle(self, x):
        return self.bn(self.conv.forward(x))


class Orthogonal(ConvBN):
    def change(self):
        self.conv = nn.Conv2d(8, 8, 1)
        nn.utils.parametrizations.orthogonal(self.conv)


class KeywordArguments(ConvBN):
    def middle(self, x):
        return self.bn(input=self.conv(input=x))


class ScriptedPart(ConvBN):
    def change(self):
        self.part = torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)))

    def middle(self, x):
        return self.bn(self.conv(self.part(x)))


class CallOfItsOwn(ConvBN):
    def change(self):
        self.conv = TwiceConv(8, 8, 3, padding=1)


class TwiceConv(nn.Conv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


class HalfOfOneParameter(ConvBN):
    def change(self):
        self.both = nn.Parameter(torch.randn(16, 8, 3, 3))
        self.conv.weight.data = self.both.data[:8]

    def middle(self, x):
        return self.bn(self.conv(x)) + F.conv2d(x, self.both[8:], padding=1)


class NormCalledAsFunction(ConvBN):
    def middle(self, x):
        bn = self.bn
        return F.batch_norm(self.conv(x), bn.running_mean, bn.running_var, bn.weight, bn.bias)


class HiddenUse(ConvBN):
    """A compiled operator reads what the convolution gives."""

    def middle(self, x):
        y = self.conv(x)
        return self.bn(y) + torch.from_numpy(y.detach().numpy().copy())


KEPT_FLOAT = [
    OtherWeightEachTime,
    DataReplaced,
    WrittenUnseen,
    ForwardOfItsOwn,
    ForwardCalledDirectly,
    Orthogonal,
    HalfOfOneParameter,
    WeightNorm,
    OldWeightNorm,
    SpectralNorm,
    OldSpectralNorm,
    Pruned,
    BufferWeight,
    HookWritesWeight,
    HookReplacesWeight,
    SharedMemory,
    FunctionalUse,
]
FOLDED = [Plain, Reflect, TwiceTheSamePair, KeywordArguments, ScriptedPart]
NOT_FOLDED = [
    CallOfItsOwn,
    NormCalledAsFunction,
    HiddenUse,
    TiedWeight,
    NormUsedTwice,
    NormReadElsewhere,
    NormInTrainMode,
    NoStatistics,
    NormWithActivation,
    NormWithHook,
    ConvWithHook,
    OutputElsewhere,
    OutputStashed,
    ReadsBias,
]


@pytest.mark.parametrize('cls', [*FOLDED, *KEPT_FLOAT, *NOT_FOLDED])
def test_folding_and_conversion_change_nothing(cls):
    model = random_model(cls)
    with torch.no_grad():
        expected = [random_model(cls)(x) for x in samples(3)]
    ctx = context(model)
    with torch.no_grad(), quantizers_off(model):
        for x, y in zip(samples(3), expected, strict=True):
            torch.testing.assert_close(model(x), y, rtol=1e-4, atol=1e-4)
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
        before = model(samples()[0])
        freeze(model)
        torch.testing.assert_close(model(samples()[0]), before)
        torch.testing.assert_close(model(samples()[0]), before)
    again = mmptq.quantize(random_model(cls), samples(), work_dir=tmp_path)
    loaded = mmptq.load(random_model(cls), tmp_path / 'quantized.pth')
    with torch.no_grad():
        torch.testing.assert_close(loaded(samples()[0]), again(samples()[0]))


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


# Tied weights


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
    from mmptq.ptq.units.ada_round import AdaRound

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


def test_tied_weight_has_one_scheme():
    rules = [dict(name='b', weight=dict(bits=4))]
    ctx = context(random_model(AllTied), quantizer=dict(QUANTIZER, rules=rules))
    schemes = {plan.name: plan.weight.bits for plan in ctx.plan.layers}
    assert schemes == dict(a=8, b=8)
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


# Every quantizer runs without hooks


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x):
        return self.encoder(self.stem(x).flatten(2).transpose(1, 2))


@pytest.fixture
def fast_attention():
    torch.backends.mha.set_fastpath_enabled(True)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def calls_without_hooks(model, x) -> int:
    count = 0
    forward = FakeQuantizer.forward

    def counting(self, x):
        nonlocal count
        count += 1
        return forward(self, x)

    FakeQuantizer.forward = counting
    try:
        with torch.no_grad():
            model(x)
    finally:
        FakeQuantizer.forward = forward
    return count


def test_fused_attention_runs_its_quantizers(fast_attention, tmp_path):
    model = mmptq.quantize(Encoder(), samples(), work_dir=tmp_path)
    linear = [f'encoder.layers.0.linear{i}' for i in (1, 2)]
    assert list(quantized_layers(model)) == ['stem', *linear]
    # Weights are frozen: the weight quantizers run, and return their input.
    assert calls_without_hooks(model, samples()[0]) == 6
    torch.backends.mha.set_fastpath_enabled(True)  # as in a new process
    loaded = mmptq.load(Encoder(), tmp_path / 'quantized.pth')
    assert calls_without_hooks(loaded, samples()[0]) == 6
    with torch.no_grad():
        without = loaded(samples()[0])
        loaded.encoder.layers[0].linear1.register_forward_hook(lambda *_: None)
        assert torch.equal(loaded(samples()[0]), without)


def test_attention_with_a_mask(fast_attention):
    """torch packs rows of several lengths into nested tensors on its fast path."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(3, 16)
            layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x, mask):
            return self.encoder(self.stem(x), src_key_padding_mask=mask)

    mask = torch.tensor([[False] * 3, [False, True, True]])
    model = mmptq.quantize(Masked(), [(torch.randn(2, 3, 3), mask)])
    assert len(quantized_layers(model)) == 5


@pytest.mark.parametrize('whole', [False, True])
def test_compiled_parts_are_quantized_as_plain_ones(whole):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
    model = copy.deepcopy(plain)
    if whole:
        model.compile(backend='eager')
    else:
        model[2] = torch.compile(model[2], backend='eager')
    expected = mmptq.quantize(plain, samples())
    mmptq.quantize(model, samples())
    assert len(quantized_layers(model)) == 2
    with torch.no_grad():
        torch.testing.assert_close(model(samples()[0]), expected(samples()[0]))


def test_model_of_inference_mode_is_refused():
    with torch.inference_mode():
        model = random_model(Plain)
    with pytest.raises(QuantizationError, match="'stem.weight' cannot be changed.*inference_mode"):
        context(model)


def test_without_the_patch_the_layers_stay_float(fast_attention, monkeypatch):
    monkeypatch.setenv('MMPTQ_DISABLE_PATCHES', 'attention_unfused')
    ctx = context(Encoder().eval())
    assert list(ctx.layers) == ['stem']
    assert 'do not run' in notes(ctx)['encoder.layers.0.linear1']
    assert type(ctx.model.encoder.layers[0].linear1) is nn.Linear


def test_a_path_of_ones_own_that_looks_for_hooks():
    class Fused(ConvBN):
        def forward(self, x):
            y = self.middle(self.stem(x))
            if self.head._forward_hooks or self.head._forward_pre_hooks:
                return self.head(y)
            return torch.conv2d(y, self.head.weight, self.head.bias)

    ctx = context(random_model(Fused))
    assert notes(ctx)['head'] == 'its quantizers do not run: other code computes with its weight'
    assert list(ctx.layers) == ['stem', 'conv']


def test_nothing_left_is_an_error():
    class OnlyFused(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x):
            hooked = self.fc._forward_hooks or self.fc._forward_pre_hooks
            return self.fc(x) if hooked else torch.mm(x[0, 0], self.fc.weight)

    with pytest.raises(QuantizationError, match="no layer is left to quantize: 'fc', its quant"):
        context(OnlyFused().eval())


# Samples


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
    mmptq.quantize(random_model(Plain), samples(), work_dir=tmp_path)
    import json

    records = json.loads((tmp_path / 'run.json').read_text())['records']
    (rows,) = [record['rows'] for record in records if record['kind'] == 'checks']
    names = ['layers run', 'float outputs', 'quantizers run', 'coarse steps']
    assert [row['check'] for row in rows] == names
    assert all(row['seconds'] > 0 for row in rows)
