"""With quantizers off, every quantized layer type equals its original on every input.

All types of ``QUANT_LAYERS`` are tried, so that a new one is covered without a new test.
"""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch import nn

from mmptq.quantization import QUANT_LAYERS, QScheme, quantizers_off
from mmptq.quantization.layers import channel_rows, quant_type_of

TYPES = list(QUANT_LAYERS)
DENSE = [t for t in TYPES if issubclass(t, (nn.modules.conv._ConvNd, nn.Linear))]
DEFORMABLE = [t for t in TYPES if 'DeformConv' in t.__name__]
SPARSE = [t for t in TYPES if t.__module__.startswith('spconv')]


def test_every_type_is_of_a_known_family():
    assert set(DENSE + DEFORMABLE + SPARSE) == set(TYPES), 'give the new family its inputs here'


def axes(float_type: type) -> int:
    """Axes of an input with a batch axis."""
    return next((int(d) + 2 for d in '123' if f'{d}d' in float_type.__name__), 2)


def options(float_type: type) -> list[dict]:
    """Arguments that change what the layer does around the arithmetic."""
    if issubclass(float_type, nn.Linear):
        return [{}, dict(bias=False)]
    if 'Transpose' in float_type.__name__:
        return [dict(stride=2), dict(stride=2, output_padding=1, padding=1, bias=False)]
    if float_type in DEFORMABLE:
        return [
            dict(padding=1),
            dict(padding=1, stride=2, deform_groups=2),
            dict(padding=2, dilation=2),
        ]
    found = [dict(padding=1), dict(stride=2, bias=False), dict(groups=2, dilation=2, padding=2)]
    return found + [
        dict(padding=padding, padding_mode=mode)
        for padding in (1, 'same', 'valid')
        for mode in ('zeros', 'reflect', 'circular', 'replicate')
        if not (mode == 'reflect' and axes(float_type) == 5)
    ]


def make(float_type: type, kwargs: dict) -> nn.Module:
    torch.manual_seed(0)
    size = () if issubclass(float_type, nn.Linear) else (3,)
    layer = float_type(4, 6, *size, **kwargs)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer.eval()


def quantized(layer: nn.Module, per_channel: bool) -> nn.Module:
    layer = copy.deepcopy(layer)
    layer.__class__ = quant_type_of(type(layer))
    channel_axes = (layer.weight_axis, layer.channel_axis) if per_channel else (None, None)
    layer.attach(*(QScheme(4, channel_axis=axis) for axis in channel_axes))
    for slot in (layer.weight_quantizer, layer.input_quantizer):
        slot.set_qparams(torch.rand(slot.scale.shape) * 0.2 + 0.1, torch.tensor(7))
    return layer


def dense_inputs(dims: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    sizes = (5, 6, 7)[: dims - 2]
    x = torch.randn(2, 4, *sizes) if dims > 2 else torch.randn(3, 4)
    inputs = {
        'plain': x,
        'empty batch': x[:0],
        'one position': torch.randn(1, 4, *[1] * len(sizes)),
        'two positions': torch.randn(1, 4, *[2] * len(sizes)),
        'not contiguous': torch.randn(2, 4, *(2 * s for s in sizes))[(..., *[slice(None, None, 2)])]
        if dims > 2
        else torch.randn(3, 8)[:, ::2],
        'unbatched': x[0],
        'expanded': x[:1].expand(3, *x.shape[1:]),
        'double': x.double(),
        'half': x.half(),
        'bfloat16': x.bfloat16(),
        'requires grad': x.clone().requires_grad_(),
    }
    if dims == 4:
        inputs['channels last'] = x.to(memory_format=torch.channels_last)
    if dims == 2:
        inputs['tokens'] = torch.randn(2, 5, 4)
        inputs['map'] = torch.randn(2, 3, 5, 4)
    return inputs


def outcome(layer: nn.Module, *args, **kwargs):
    try:
        return layer(*args, **kwargs)
    except Exception as error:
        return type(error)


def check(layer: nn.Module, *args, **kwargs) -> None:
    expected = outcome(layer, *args, **kwargs)
    for per_channel in (False, True):
        other = quantized(layer, per_channel)
        with quantizers_off(other):
            got = outcome(other, *args, **kwargs)
        if isinstance(expected, type):
            assert got is expected
        else:
            assert torch.equal(got, expected)
            assert (got.dtype, got.requires_grad) == (expected.dtype, expected.requires_grad)
        if isinstance(expected, torch.Tensor):
            assert other(*args, **kwargs).shape == expected.shape  # and with quantizers on


@pytest.mark.parametrize('float_type', DENSE, ids=lambda t: f'{t.__module__}.{t.__name__}')
def test_dense(float_type):
    inputs = dense_inputs(axes(float_type))
    for kwargs in options(float_type):
        layer = make(float_type, kwargs)
        assert isinstance(outcome(layer, inputs['plain']), torch.Tensor)
        for x in inputs.values():
            check(layer.to(x.dtype), x)
            layer = layer.float()


def test_sizes_of_transposed_convolutions():
    layer = make(nn.ConvTranspose2d, dict(stride=2))
    for size in ([11, 13], [12, 14], [40, 40]):
        check(layer, torch.randn(2, 4, 5, 6), output_size=size)
        check(layer, torch.randn(4, 5, 6), output_size=size)


@pytest.mark.parametrize('float_type', DENSE, ids=lambda t: f'{t.__module__}.{t.__name__}')
def test_a_sample_alone_is_quantized_as_in_a_batch(float_type):
    """(C, H, W) has its channels on axis 0."""
    if issubclass(float_type, nn.Linear):
        return
    layer = quantized(make(float_type, {}), per_channel=True)
    x = torch.randn(4, *(4, 5, 6)[: axes(float_type) - 2])
    torch.testing.assert_close(layer(x), layer(x[None])[0])
    torch.testing.assert_close(channel_rows(layer, x), channel_rows(layer, x[None]))


@pytest.mark.parametrize('float_type', DEFORMABLE, ids=lambda t: t.__name__)
def test_deformable(float_type):
    takes = len(inspect.signature(float_type.forward).parameters) - 1
    for kwargs in options(float_type):
        layer = make(float_type, kwargs)
        groups, stride = kwargs.get('deform_groups', 1), kwargs.get('stride', 1)
        for shape in ((2, 4, 8, 9), (1, 4, 2, 9), (1, 4, 1, 1), (1, 4, 2, 2), (0, 4, 8, 8)):
            height, width = (-(-n // stride) for n in shape[2:])
            offset = torch.randn(shape[0], 18 * groups, height, width)
            mask = torch.rand(shape[0], 9 * groups, height, width)
            check(layer, *(torch.randn(shape), offset, mask)[:takes])
        wide = torch.randn(2, 4, 8, 18)[..., ::2]
        last = torch.randn(2, 4, 8, 9).to(memory_format=torch.channels_last)
        height, width = -(-8 // stride), -(-9 // stride)
        # mmcv's first version takes neither.
        offset = torch.randn(2, 18 * groups, height, width)
        mask = torch.rand(2, 9 * groups, height, width)
        for x in (wide, last):
            check(layer, *(x, offset, mask)[:takes])


def test_deformable_map_that_is_smaller_than_the_kernel_runs():
    mmcv_ops = pytest.importorskip('mmcv.ops')
    layer = quantized(make(mmcv_ops.DeformConv2d, dict(padding=1)), per_channel=False)
    assert layer(torch.randn(1, 4, 1, 2), torch.randn(1, 18, 1, 2)).shape == (1, 6, 1, 2)


@pytest.mark.parametrize('float_type', SPARSE, ids=lambda t: t.__name__)
def test_sparse(float_type):
    from spconv.pytorch import SparseConvTensor

    dims = axes(float_type) - 2
    torch.manual_seed(0)
    inverse = 'Inverse' in float_type.__name__
    kwargs = dict(bias=False, indice_key='a')  # spconv refuses a bias on a CPU
    layer = make(float_type, kwargs)
    for sites in (0, 1, 20):
        cells = torch.randperm(6**dims)[:sites]
        coords = torch.stack([cells // 6**i % 6 for i in range(dims)], 1)
        indices = torch.cat([torch.zeros(sites, 1), coords], 1).int()
        x = SparseConvTensor(torch.randn(sites, 4), indices, [6] * dims, 1)
        down = type_of_input(float_type)
        if inverse and sites:
            with torch.no_grad():
                x = down(x)
        with torch.no_grad():
            expected = outcome(layer, x)
            for per_channel in (False, True):
                other = quantized(layer, per_channel)
                with quantizers_off(other):
                    got = outcome(other, x)
                if isinstance(expected, type):
                    assert got is expected
                    assert sites < 20
                    continue
                assert torch.equal(got.features, expected.features)
                assert torch.equal(got.indices, expected.indices)
                assert got.spatial_shape == expected.spatial_shape


def type_of_input(float_type: type) -> nn.Module:
    """The strided convolution that an inverse one undoes."""
    import spconv.pytorch as spconv

    down = getattr(spconv, f'SparseConv{axes(float_type) - 2}d')
    return down(4, 4, 3, stride=2, bias=False, indice_key='a').eval()


# Layers that leave the process


class OwnConv(nn.Conv2d):
    """Of a user; its quantized class is made while running."""


@pytest.mark.parametrize('float_type', [OwnConv, nn.Linear, nn.Conv2d])
def test_pickle_and_torch_save(float_type):
    layer = quantized(make(float_type, {}), per_channel=True)
    x = torch.randn(1, 4, 5, 4)
    if float_type is nn.Linear:
        x = torch.randn(2, 4)
    model = nn.Sequential(layer, nn.ReLU())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    saved = torch.load(file, weights_only=False)
    for again in (pickle.loads(pickle.dumps(model)), saved, copy.deepcopy(model)):
        assert type(again[0]) is type(layer)
        assert torch.equal(again(x), model(x))
        assert again[0].weight is not layer.weight
