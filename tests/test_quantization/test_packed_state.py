"""State dicts with integers in place of on-grid weights, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from mmptq.quantization import (
    FakeQuantizer,
    HardRounding,
    QuantizationError,
    apply_plan,
    choose_qparams,
    freeze,
    make_plan,
    model_size,
    quantized_layers,
)
from mmptq.quantization.packed_state import pack_state, unpack_state


class Net(nn.Module):
    """One layer of each dense kind, one of them under two names, and a BatchNorm that stays."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 9, 3)
        self.up = nn.ConvTranspose2d(9, 5, 2)
        self.act_only = nn.Conv2d(5, 5, 1)
        self.norm = nn.BatchNorm2d(5)
        self.linear = nn.Linear(5, 7)
        self.again = self.conv

    def forward(self, x):
        x = torch.relu(self.up(self.conv(x)))
        return self.linear(self.norm(torch.relu(self.act_only(x))).mean((2, 3)))


def calibrate(net: nn.Module) -> None:
    for layer in quantized_layers(net).values():
        slot, axis = layer.weight_quantizer, 0
        if isinstance(slot, FakeQuantizer):
            axis = slot.scheme.channel_axis
            weight = layer.weight.detach()
            rows = weight.reshape(1, -1) if axis is None else weight.transpose(0, axis).flatten(1)
            slot.set_qparams(*choose_qparams(rows.amin(1), rows.amax(1), slot.scheme))
        layer.input_quantizer.set_qparams(torch.tensor([0.03]), torch.tensor([200]))


def frozen_net(weight: dict, change=lambda net: None) -> nn.Module:
    torch.manual_seed(0)
    net = Net().eval()
    rules = [dict(name='act_only', weight=None)]
    quantizer = dict(weight=weight, act=dict(bits=8), rules=rules)
    apply_plan(net, make_plan(net, quantizer, lambda: net(torch.randn(1, 3, 8, 8))))
    change(net)
    calibrate(net)
    freeze(net)
    return net


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    first, second = (x.detach().contiguous().view(-1).view(torch.uint8) for x in (first, second))
    return torch.equal(first, second)


def check_round_trip(net: nn.Module, tmp_path) -> dict:
    """The packed state, after it was compared with the model through a file."""
    expected = copy.deepcopy(net.state_dict())
    state = net.state_dict()
    versions = state._metadata
    table = pack_state(net, state)
    torch.save(dict(state=state, table=table), tmp_path / 'state.pth')
    loaded = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert loaded['state']._metadata == versions
    packed = dict(loaded['state'])
    unpack_state(loaded['state'], loaded['table'])
    assert list(loaded['state']) == list(expected)
    assert loaded['state']._metadata == versions
    for key, value in expected.items():
        found = loaded['state'][key]
        assert found.dtype == value.dtype and found.shape == value.shape
        assert same_bits(found, value), key
    return packed


@pytest.mark.parametrize('bits', [2, 3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize('symmetric', [True, False])
@pytest.mark.parametrize('signed', [True, None])
@pytest.mark.parametrize('per_channel', [True, False])
def test_every_width_and_grid(bits, symmetric, signed, per_channel, tmp_path):
    weight = dict(bits=bits, symmetric=symmetric, signed=signed, per_channel=per_channel)
    net = frozen_net(weight)
    packed = check_round_trip(net, tmp_path)
    assert not {'conv.weight', 'up.weight', 'linear.weight'} & packed.keys()
    assert packed['conv.packed_weight'].nbytes == -(-3 * 9 * 9 * bits // 8)
    assert packed['act_only.weight'].dtype == torch.float32


@torch.no_grad()
def test_memory_layout_and_type(tmp_path):
    def change(net):
        net.conv.to(memory_format=torch.channels_last)
        net.linear.weight = nn.Parameter(net.linear.weight.t().contiguous().t())

    check_round_trip(frozen_net(dict(bits=4, per_channel=True), change), tmp_path)
    for dtype in (torch.float16, torch.bfloat16):
        convert = lambda net, dtype=dtype: net.to(dtype)  # noqa: E731
        check_round_trip(frozen_net(dict(bits=4, per_channel=True), convert), tmp_path)


@torch.no_grad()
def test_learned_rounding(tmp_path):
    net = Net().eval()
    quantizer = dict(weight=dict(bits=4, per_channel=True), act=dict(bits=8))
    apply_plan(net, make_plan(net, quantizer, lambda: net(torch.randn(1, 3, 8, 8))))
    calibrate(net)
    for layer in quantized_layers(net).values():
        layer.weight_quantizer.rounding = HardRounding(torch.rand(layer.weight.shape) < 0.5)
    freeze(net)
    check_round_trip(net, tmp_path)


@torch.no_grad()
def test_sparse_layers(tmp_path):
    spconv = pytest.importorskip('spconv.pytorch')
    net = spconv.SparseSequential(
        spconv.SubMConv3d(5, 8, 3, bias=False), spconv.SparseConv3d(8, 3, 3, bias=False)
    )

    def run():
        indices = torch.tensor([[0, 1, 1, 1], [0, 2, 3, 4]], dtype=torch.int32)
        net(spconv.SparseConvTensor(torch.randn(2, 5), indices, [8, 8, 8], 1))

    quantizer = dict(weight=dict(bits=3, symmetric=True, signed=True, per_channel=True), act={})
    apply_plan(net.eval(), make_plan(net.eval(), quantizer, run))
    calibrate(net)
    freeze(net)
    packed = check_round_trip(net, tmp_path)
    assert packed['0.packed_weight'].nbytes == 8 * 27 * 5 * 3 / 8


def test_a_layer_under_two_names_is_stored_once(tmp_path):
    packed = check_round_trip(frozen_net(dict(bits=4)), tmp_path)
    names = ('conv.packed_weight', 'again.packed_weight')
    first, second = (packed[name].untyped_storage().data_ptr() for name in names)
    assert first == second


@torch.no_grad()
def test_one_weight_of_two_layers_with_different_grids_stays_float(tmp_path):
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    net[1].weight = net[0].weight
    quantizer = dict(weight=dict(bits=4, per_channel=True), act=dict(bits=8))
    apply_plan(net, make_plan(net, quantizer, lambda: net(torch.randn(2, 4))))
    calibrate(net)
    net[1].weight_quantizer = copy.deepcopy(net[1].weight_quantizer)
    net[1].weight_quantizer.scale.mul_(0.7)
    freeze(net)  # on the grid of the first
    packed = check_round_trip(net, tmp_path)
    assert '0.packed_weight' in packed and '1.weight' in packed


@pytest.mark.parametrize('bits', [2, 3, 8])
def test_model_size_is_what_is_stored(bits):
    net = frozen_net(dict(bits=bits, per_channel=True))
    state = net.state_dict()
    pack_state(net, state)
    stored = {value.untyped_storage().data_ptr(): value.nbytes for value in state.values()}
    # conv, up, act_only, norm (with statistics and an int64 count), linear
    weights, biases = 3 * 9 * 9 + 9 * 5 * 4 + 5 * 7, 9 + 5 + 5 + 7
    rest = 4 * (25 + biases + 4 * 5) + 8
    assert model_size(net) == (4 * weights + rest, sum(stored.values()))
    packed = sum(-(-n * bits // 8) for n in (3 * 9 * 9, 9 * 5 * 4, 5 * 7))
    # Five bytes for each scale with its zero point: 9 + 5 + 7 of weights, 4 of inputs.
    assert model_size(net)[1] == packed + rest + 5 * (9 + 5 + 7 + 4)


def test_weights_off_the_grid_are_refused():
    net = frozen_net(dict(bits=8))
    with torch.no_grad():
        net.up.weight[0, 0, 0, 0] += 1e-4
    with pytest.raises(QuantizationError, match="weight of 'up' is not on its grid"):
        pack_state(net, net.state_dict())


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda s, t: s.pop('up.packed_weight'), "lacks 'up.packed_weight'"),
        (lambda s, t: s.pop('up.weight_quantizer.scale'), "lacks 'up.weight_quantizer.scale'"),
        (lambda s, t: t['up.weight'].update(shape=[1, 2]), "'up.packed_weight' .*do not hold 2"),
        (lambda s, t: t['up.weight'].update(dtype='float99'), "'up.packed_weight' .*float99"),
        (lambda s, t: t['up.weight']['scheme'].update(bits=9), "'up.packed_weight' .*bits=9"),
    ],
)
def test_damaged_files(damage, message):
    net = frozen_net(dict(bits=4))
    state = net.state_dict()
    table = pack_state(net, state)
    damage(state, table)
    with pytest.raises(QuantizationError, match=message):
        unpack_state(state, table)
