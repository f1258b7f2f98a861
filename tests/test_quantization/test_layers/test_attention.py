"""Torch's attention with its projections as layers."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from torch import nn

from mmptq.quantization import apply_plan, freeze, make_plan, quantized_layers, quantizers_off
from mmptq.quantization.convert import rebuild
from mmptq.quantization.graph.split_attention import split_attention
from mmptq.quantization.layers.attention import PROJECTIONS, SplitAttention
from mmptq.quantization.packed_state import pack_state, unpack_state

INT8 = dict(weight=dict(bits=8, symmetric=True, signed=True), act=dict(bits=8))
OPTIONS = [
    {},
    dict(bias=False),
    dict(batch_first=True),
    dict(add_bias_kv=True),
    dict(add_zero_attn=True),
    dict(add_bias_kv=True, add_zero_attn=True, batch_first=True),
    dict(kdim=5, vdim=3),
    dict(kdim=5, vdim=3, bias=False, batch_first=True),
    dict(dropout=0.5),
]


@pytest.fixture(autouse=True)
def slow_path():
    """The path that PTQ takes; the switch is of the whole process."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(enabled)


def attention(**options) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **options).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


def tokens(module: nn.MultiheadAttention, batch: int | None = 3) -> list[torch.Tensor]:
    """Query of five, keys and values of seven tokens."""
    torch.manual_seed(1)
    sizes = [(5, module.embed_dim), (7, module.kdim), (7, module.vdim)]
    if batch is None:
        return [torch.randn(size) for size in sizes]
    return [
        torch.randn(batch, n, c) if module.batch_first else torch.randn(n, batch, c)
        for n, c in sizes
    ]


def divided(module: nn.MultiheadAttention) -> nn.MultiheadAttention:
    holder = nn.Sequential(copy.deepcopy(module))
    split_attention(holder)
    assert isinstance(holder[0], SplitAttention)
    return holder[0]


def assert_alike(one: nn.Module, other: nn.Module, *args, **kwargs) -> None:
    for got, want in zip(other(*args, **kwargs), one(*args, **kwargs), strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            assert got.shape == want.shape
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_equals_the_original(options):
    module = attention(**options)
    other = divided(module)
    padding = torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 4:] = True
    mask = torch.zeros(5, 7, dtype=torch.bool)
    mask[0, 1] = mask[3, 2:] = True
    by_head = torch.randn(6, 5, 7)
    float_padding = torch.zeros(3, 7).masked_fill(padding, float('-inf'))
    masks = [
        {},
        dict(key_padding_mask=padding),
        dict(attn_mask=mask),
        dict(attn_mask=mask, key_padding_mask=padding),
        dict(attn_mask=by_head),
        dict(attn_mask=by_head, key_padding_mask=float_padding),
    ]
    for masked, weights in itertools.product(masks, (True, False)):
        assert_alike(module, other, *tokens(module), **masked, need_weights=weights)
    assert_alike(module, other, *tokens(module), average_attn_weights=False)
    assert_alike(module, other, *tokens(module, None), attn_mask=mask)
    assert_alike(module, other, *tokens(module, None), key_padding_mask=padding[1])
    empty = [x[:, :0] if module.batch_first else x[:0] for x in tokens(module)]
    assert_alike(module, other, empty[0], *tokens(module)[1:])
    module.train(), other.train()
    torch.manual_seed(2)
    want = module(*tokens(module))[0]
    torch.manual_seed(2)
    torch.testing.assert_close(other(*tokens(module))[0], want, rtol=1e-6, atol=1e-6)


def test_self_attention_and_causal_mask():
    module = attention(batch_first=True)
    other = divided(module)
    x = tokens(module)[0]
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    for weights in (True, False):
        assert_alike(module, other, x, x, x, need_weights=weights)
        assert_alike(module, other, x, x, x, attn_mask=causal, is_causal=True, need_weights=weights)
    for one in (module, other):
        with pytest.raises(RuntimeError, match='Need attn_mask'):
            one(x, x, x, is_causal=True)
        with pytest.raises(RuntimeError, match='2D attn_mask'):
            one(x, x, x, attn_mask=causal[:3])
        with pytest.raises(AssertionError, match='embedding dimension'):
            one(x[..., :4], x, x)
        with pytest.raises(AssertionError, match='key shape'):
            one(x, x, x[:, :3])
        with pytest.raises(AssertionError, match='unbatched 2D or batched 3D'):
            one(x[0, 0], x[0, 0], x[0, 0])


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_names_stay_those_of_torch(options):
    module = attention(**options)
    other = divided(module)
    state = module.state_dict()
    assert other.state_dict().keys() == state.keys()
    assert all(torch.equal(other.state_dict()[key], value) for key, value in state.items())
    changed = {key: value + 1 for key, value in state.items()}
    other.load_state_dict(changed, strict=True)
    assert all(torch.equal(other.state_dict()[key], value) for key, value in changed.items())
    with pytest.raises(RuntimeError, match=r'Missing key.*q_proj\.weight'):
        other.load_state_dict({k: v for k, v in state.items() if k == 'out_proj.weight'})
    if module._qkv_same_embed_dim:
        assert torch.equal(other.in_proj_weight, changed['in_proj_weight'])


def test_copies_and_pickles():
    other = divided(attention())
    inputs = tokens(other)
    file = io.BytesIO()
    pickle.dump(other, file)
    for twin in (copy.deepcopy(other), pickle.loads(file.getvalue())):
        assert torch.equal(twin(*inputs)[0], other(*inputs)[0])
        assert twin.state_dict().keys() == other.state_dict().keys()


class Block(nn.Module):
    """mmcv's attention, which adds a position to queries and keys, and a layer after it."""

    def __init__(self):
        super().__init__()
        self.attention = MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 4)

    def forward(self, x, position):
        return self.linear(self.attention(x, query_pos=position))


def block() -> tuple[Block, tuple]:
    torch.manual_seed(0)
    return Block().eval(), (torch.randn(2, 6, 8), torch.randn(2, 6, 8))


def calibrate(model: nn.Module) -> None:
    for layer in quantized_layers(model).values():
        layer.weight_quantizer.set_qparams(layer.weight.abs().max()[None] / 127, torch.zeros(1))
        layer.input_quantizer.set_qparams(torch.full((1,), 0.03), torch.full((1,), 128))


def test_projections_are_quantized_and_saved():
    model, inputs = block()
    expected = model(*inputs)
    stock = copy.deepcopy(model.state_dict())
    plan = make_plan(model, INT8, lambda: model(*inputs))
    names = [f'attention.attn.{name}' for name in (*PROJECTIONS, 'out_proj')]
    assert [layer.name for layer in plan.layers] == [*names, 'linear']
    assert not plan.unsupported
    kind, reason = plan.float_parts['attention.attn']
    assert 'softmax' in reason
    apply_plan(model, plan)
    with quantizers_off(model):
        torch.testing.assert_close(model(*inputs), expected)
    calibrate(model)
    freeze(model)
    quantized = model(*inputs)
    assert not torch.allclose(quantized, expected, atol=1e-4)

    state = model.state_dict()
    table = pack_state(model, state)
    assert f'{names[0]}.weight' in table and 'attention.attn.in_proj_weight' not in state
    unpack_state(state, table)
    other, _ = block()
    rebuild(other, type(plan).from_dict(plan.to_dict()))
    calibrate(other)
    other.load_state_dict(state, strict=True)
    assert torch.equal(other(*inputs), quantized)
    weight = stock['attention.attn.in_proj_weight'][8:16]
    # Weights of a stock checkpoint fit, too: those of the quantizers are all that is missing.
    missing, unexpected = other.load_state_dict(stock, strict=False)
    assert not unexpected and all('_quantizer.' in key for key in missing)
    assert torch.equal(other.attention.attn.k_proj.weight, weight)


def test_plans_of_before_load_as_they_were():
    """A plan without projections leaves the attention as torch made it."""
    model, inputs = block()
    plan = make_plan(model, INT8, lambda: model(*inputs))
    plan.layers = [layer for layer in plan.layers if layer.name == 'linear']
    other, _ = block()
    rebuild(other, plan)
    assert type(other.attention.attn) is nn.MultiheadAttention


class Other(nn.MultiheadAttention):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class Same(nn.MultiheadAttention):
    pass


def test_what_computes_something_else_stays():
    same, other = Same(8, 2), Other(8, 2)
    tied = nn.ModuleList([nn.MultiheadAttention(8, 2) for _ in range(2)])
    tied[1].in_proj_weight = tied[0].in_proj_weight
    model = nn.ModuleList([same, other, tied])
    split_attention(model)
    assert isinstance(same, SplitAttention) and isinstance(same, Same)
    assert type(other) is Other
    assert all(type(module) is nn.MultiheadAttention for module in tied)
    split_attention(model)
    assert pickle.loads(pickle.dumps(same)).q_proj.weight.shape == (8, 8)


def test_random_numbers_are_left_alone():
    module = attention()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    divided(module)
    assert torch.equal(torch.rand(1), expected)
