"""Products of two activations in attentions, with quantized operands."""

import copy
import io
import pickle

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmdet.models.backbones.swin import WindowMSA
from mmdet.models.layers.transformer.utils import ConditionalAttention
from torch import Tensor, nn

from mmptq.lanes.models.necks.lane_transformer import Attention
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    QuantPlan,
    apply_plan,
    coverage_rows,
    fake_quantize,
    freeze,
    make_plan,
    product_quantizers,
    quantizers_off,
    rebuild,
)
from mmptq.quantization.layers.attention import SplitAttention

WEIGHT = dict(bits=8, symmetric=True, signed=True)
PRODUCTS = dict(bits=8, right=dict(symmetric=True, signed=True, narrow=True))
QUANTIZER = dict(weight=WEIGHT, act=dict(bits=8), products=PRODUCTS)
WITHOUT = dict(weight=WEIGHT, act=dict(bits=8))
CHANNELS, HEADS = 8, 2


class Conditional(ConditionalAttention):
    """With five tokens as queries, keys, values and positions."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x, query_pos=x, key_pos=x, ref_sine_embed=x, is_first=True)


class Torch(nn.Module):
    """Torch's attention of a tensor to itself, with or without weights."""

    def __init__(self, need_weights: bool):
        super().__init__()
        self.attn = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x, x, x, need_weights=self.need_weights)[0]


class OfLanes(Attention):
    """LSTR's attention of a tensor to itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x, x)


MAKERS = {
    'torch': lambda: Torch(True),
    'torch fused': lambda: Torch(False),
    'swin': lambda: WindowMSA(CHANNELS, HEADS, (1, 5)),
    'lstr': lambda: OfLanes(CHANNELS, HEADS),
    'conditional': lambda: Conditional(CHANNELS, HEADS),
}


class Holder(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.first = nn.Linear(CHANNELS, CHANNELS)
        self.block = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.first(x))


def holder(kind: str) -> Holder:
    torch.manual_seed(0)
    return Holder(MAKERS[kind]()).eval()


def tokens() -> Tensor:
    return torch.randn(3, 5, CHANNELS, generator=torch.Generator().manual_seed(1))


def converted(kind: str, quantizer: dict = QUANTIZER) -> tuple[Holder, QuantPlan]:
    net = holder(kind)
    plan = make_plan(net, quantizer, lambda: net(tokens()))
    apply_plan(net, plan)
    return net, plan


def calibrate(net: nn.Module) -> None:
    """Grids of a hundred steps, with zero points where the grid has some."""
    for module in net.modules():
        if isinstance(module, FakeQuantizer):
            size = len(module.scale)
            middle = 0 if module.scheme.signed else 100
            module.set_qparams(torch.full((size,), 0.01), torch.full((size,), middle))


@pytest.mark.parametrize('kind', MAKERS)
def test_identical_with_quantizers_off(kind):
    other = converted(kind, WITHOUT)[0]  # torch's attention, with its projections as layers
    with quantizers_off(other):
        want = other(tokens())
    quantized, plan = converted(kind)
    assert [item.count for item in plan.products.values()] == [2]
    with quantizers_off(quantized):
        got = quantized(tokens())
    if kind == 'torch fused':  # torch's own operator adds in another order
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(got, want)


@pytest.mark.parametrize('kind', MAKERS)
def test_every_operand_is_on_its_grid(kind):
    net, plan = converted(kind)
    calibrate(net)
    quantizers = product_quantizers(net)
    (name,) = plan.products
    slots = ('0.left', '0.right', '1.left', '1.right')
    assert list(quantizers) == [f'{name}.products.{slot}' for slot in slots]
    seen = {}
    for key, quantizer in quantizers.items():
        quantizer.register_forward_hook(
            lambda _, args, y, key=key: seen.update({key: (args[0], y)})
        )
    net(tokens())
    assert len(seen) == 4
    for key, (x, y) in seen.items():
        low, high = (-1.27, 1.27) if key.endswith('right') else (-1.0, 1.55)
        torch.testing.assert_close(y, (x / 0.01).round().mul(0.01).clamp(low, high))
    weights = seen[f'{name}.products.1.left'][0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_products_by_hand():
    """Queries, keys, weights and values are rounded before they are multiplied."""
    net = holder('lstr')
    quantizer = dict(weight=None, act=None, products=PRODUCTS)
    quantizer['rules'] = [dict(name='first', weight=WEIGHT)]
    plan = make_plan(net, quantizer, lambda: net(tokens()))
    apply_plan(net, plan)
    calibrate(net)
    left, right = plan.products['block'].left, plan.products['block'].right
    step, middle, zero = torch.tensor([0.01]), torch.tensor([100]), torch.tensor([0])

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2)

    block, x = net.block, net.first(tokens())
    q = fake_quantize(heads(block.query_proj(x)) * block.scale, step, middle, left)
    k = fake_quantize(heads(block.key_proj(x)), step, zero, right)
    v = fake_quantize(heads(block.value_proj(x)), step, zero, right)
    p = fake_quantize((q @ k.transpose(-2, -1)).softmax(-1), step, middle, left)
    want = block.out_proj((p @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(net(tokens()), want, rtol=0, atol=0)


@pytest.mark.parametrize('masked', [False, True])
def test_masks_of_torch(masked):
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(CHANNELS, HEADS, 16, batch_first=True).eval()
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    args = (tokens(), mask) if masked else (tokens(),)
    want = net(*args)
    apply_plan(net, make_plan(net, QUANTIZER, lambda: net(*args)))
    with quantizers_off(net):
        torch.testing.assert_close(net(*args), want, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(net(*args, is_causal=masked), want, rtol=1e-5, atol=1e-6)
    assert net.self_attn(*[tokens()] * 3, need_weights=False)[1] is None


def test_off_by_default():
    net, plan = converted('torch', WITHOUT)
    assert not plan.products
    assert not product_quantizers(net)
    assert 'products' not in plan.to_dict()
    assert type(net.block.attn) is SplitAttention


def test_coverage():
    rows = {row['layer']: row for row in coverage_rows(converted('torch')[1])}
    row = rows['block.attn']
    assert row['kind'] == 'MultiheadAttention'
    assert row['input'] == 'uint8 asym per-tensor'
    assert row['weight'] == 'int8 sym narrow per-tensor'
    assert row['note'] == (
        'operands of its 2 products of two activations: left as input, right as weight; softmax '
        'stays float'
    )


def test_some_stay_float():
    products = dict(bits=8, float=['block'])
    assert not converted('swin', dict(QUANTIZER, products=products))[1].products
    with pytest.raises(QuantizationError, match=r"quantizer\.products\.float 'blok'"):
        converted('swin', dict(QUANTIZER, products=dict(bits=8, float=['blok'])))


@pytest.mark.parametrize(
    ('products', 'message'),
    [
        (dict(bits=8, per_channel=True), 'a product takes one scale per operand'),
        (dict(bits=8, centre=True), "quantizer.products has an unknown key 'centre'"),
    ],
)
def test_wrong_keys(products, message):
    with pytest.raises(QuantizationError, match=message):
        converted('swin', dict(QUANTIZER, products=products))


@pytest.mark.parametrize('kind', MAKERS)
def test_undone(kind):
    net = holder(kind)
    before = {name: type(module) for name, module in net.named_modules()}
    want = net(tokens())
    plan = make_plan(net, QUANTIZER, lambda: net(tokens()))
    if not kind.startswith('torch'):  # torch's attention keeps its projections as layers
        assert {name: type(module) for name, module in net.named_modules()} == before
    apply_plan(net, plan)()
    assert not product_quantizers(net)
    torch.testing.assert_close(net(tokens()), want)


@pytest.mark.parametrize('kind', MAKERS)
def test_checkpoint_and_copies(kind):
    net, plan = converted(kind)
    calibrate(net)
    freeze(net)
    want = net(tokens())
    again = QuantPlan.from_dict(copy.deepcopy(plan.to_dict()))
    assert again.products == plan.products
    fresh = holder(kind)
    rebuild(fresh, again)
    fresh.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(fresh(tokens()), want)
    assert torch.equal(copy.deepcopy(net)(tokens()), want)
    if kind != 'conditional':  # a class of this file, which another process could not import
        assert torch.equal(pickle.loads(pickle.dumps(net))(tokens()), want)
        file = io.BytesIO()
        torch.save(net, file)


def test_a_wrapper_counts_nothing_itself():
    """mmcv's wrapper calls torch's attention, whose products are its own."""
    net = nn.Sequential(MultiheadAttention(CHANNELS, HEADS, batch_first=True)).eval()
    plan = make_plan(net, QUANTIZER, lambda: net(tokens()))
    assert list(plan.products) == ['0.attn']


def test_gradients_pass():
    net, _ = converted('lstr')
    calibrate(net)
    x = tokens().requires_grad_()
    net(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
