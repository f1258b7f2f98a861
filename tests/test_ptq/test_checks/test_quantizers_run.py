"""Every quantizer runs in a forward without hooks, or its layer stays float."""

import copy

import pytest
import torch
from odd_models import ConvBN, context, notes, random_model, samples
from odd_norms import Plain
from torch import nn

import mmptq
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    quantized_layers,
)


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
    layers = [f'self_attn.{name}_proj' for name in ('q', 'k', 'v', 'out')] + ['linear1', 'linear2']
    names = ['stem', *(f'encoder.layers.0.{name}' for name in layers)]
    assert set(quantized_layers(model)) == set(names)
    # Weights are frozen: the weight quantizers run, and return their input.
    assert calls_without_hooks(model, samples()[0]) == 2 * len(names)
    torch.backends.mha.set_fastpath_enabled(True)  # as in a new process
    loaded = mmptq.load(Encoder(), tmp_path / 'quantized.pth')
    assert calls_without_hooks(loaded, samples()[0]) == 2 * len(names)
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
    assert len(quantized_layers(model)) == 1 + 2 * (4 + 2)


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
