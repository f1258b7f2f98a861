"""Products of two activations through a whole run: calibrated, learned around, saved and loaded."""

import pytest
import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.engine.checkpoint import save_quantized
from mmptq.engine.load_weights import load_quantized
from mmptq.lanes.models.necks.lane_transformer import Attention
from mmptq.ptq import Calibrator, PTQContext, Reconstructor
from mmptq.ptq.run import finish_model, prepare_model, run_stages
from mmptq.quantization import QuantizationError, coverage_rows, product_quantizers

QUANTIZER = dict(
    weight=dict(bits=8, symmetric=True, signed=True),
    act=dict(bits=8),
    products=dict(bits=8, right=dict(symmetric=True, signed=True)),
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(4, 8)
        self.attn = Attention(8, 2)
        self.mute = Attention(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.embed(inputs)
        x = x + self.attn(x, x, x)
        return self.mute(x, x, x) if inputs.shape[1] > 3 else x


def context(tmp_path, *lengths: int) -> PTQContext:
    MMLogger.get_instance('products', log_level='ERROR')
    generator = torch.Generator().manual_seed(0)
    loader = [dict(inputs=torch.randn(2, n, 4, generator=generator)) for n in lengths]
    ctx = PTQContext(Net().eval(), loader, tmp_path, seed=0)
    prepare_model(ctx, QUANTIZER)
    return ctx


def test_ranges_are_those_of_the_operands(tmp_path):
    ctx = context(tmp_path, 5, 4)
    attn, values = ctx.model.attn, []
    x = [nn.functional.linear(b['inputs'], *ctx.model.embed.parameters()) for b in ctx.loader]
    for one in x:
        value = nn.functional.linear(one, attn.value_proj.weight, attn.value_proj.bias)
        values.append(value.abs().max())
    Calibrator().run(ctx)
    found = product_quantizers(ctx.model)
    assert len(found) == 8
    torch.testing.assert_close(found['attn.products.1.right'].scale, max(values).view(1) / 127)
    weights = found['attn.products.1.left']
    assert weights.scale * 255 <= 1
    assert weights.zero_point == 0


def test_products_without_data_stay_float(tmp_path):
    ctx = context(tmp_path, 5)
    ctx.loader = [dict(inputs=torch.randn(2, 3, 4))]
    Calibrator().run(ctx)
    assert list(ctx.plan.products) == ['attn']
    assert type(ctx.model.mute) is Attention
    row = next(row for row in coverage_rows(ctx.plan) if row['layer'] == 'mute')
    assert (row['weight'], row['note']) == ('float', 'received no calibration data')


def test_a_run_without_a_calibrator_is_refused(tmp_path):
    ctx = context(tmp_path, 5)
    for layer in ctx.layers.values():
        for slot in (layer.module.weight_quantizer, layer.module.input_quantizer):
            slot.set_qparams(torch.ones_like(slot.scale), torch.zeros_like(slot.zero_point))
    with pytest.raises(QuantizationError, match=r"no stage calibrated 'attn\.products\.0\.left'"):
        finish_model(ctx)


def test_learned_saved_and_loaded(tmp_path):
    ctx = context(tmp_path, 5, 4)
    run_stages(ctx, [Calibrator(), Reconstructor('layer', num_iters=3, batch_size=1)])
    finish_model(ctx)
    data = ctx.loader[0]
    want = ctx.predict(data)
    save_quantized(ctx.model, ctx.plan, tmp_path / 'quantized.pth', {}, '')
    fresh = load_quantized(Net(), tmp_path / 'quantized.pth')
    with torch.no_grad():
        assert torch.equal(fresh(data['inputs']), want)
        product_quantizers(fresh)['attn.products.1.right'].enabled = False
        assert not torch.equal(fresh(data['inputs']), want)
    load_quantized(fresh, tmp_path / 'quantized.pth')  # of the same plan
    ctx.plan.products.pop('mute')
    save_quantized(ctx.model, ctx.plan, tmp_path / 'other.pth', {}, '')
    with pytest.raises(QuantizationError, match='differs from the checkpoint in its products'):
        load_quantized(fresh, tmp_path / 'other.pth')
