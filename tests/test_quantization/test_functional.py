"""Scale, zero point and rounding, by hand and against torch's own operator."""

import pytest
import torch

from mmptq.quantization import (
    QScheme,
    QuantizationError,
    choose_qparams,
    dequantize,
    fake_quantize,
    lp_error,
    quantize,
)


@pytest.mark.parametrize(
    ('options', 'low', 'high', 'scale', 'zero_point'),
    [
        (dict(bits=8), -1.0, 1.55, 0.01, 100),
        (dict(bits=8), 0.5, 2.55, 0.01, 0),  # the range is widened to hold 0
        (dict(bits=8), -2.55, -0.5, 0.01, 255),
        (dict(bits=8, signed=True), -1.0, 1.55, 0.01, -28),
        (dict(bits=8, symmetric=True, signed=True), -1.27, 0.5, 0.01, 0),
        (dict(bits=8, symmetric=True, signed=True), 0.0, 1.27, 0.01, 0),
        (dict(bits=8, symmetric=True), 0.0, 2.55, 0.01, 0),  # non-negative: all 256 levels
        (dict(bits=8, symmetric=True), -1.27, 0.5, 0.01, 128),
        (dict(bits=8, symmetric=True, narrow=True), -1.27, 0.5, 0.01, 127),
        (dict(bits=8, symmetric=True, signed=False), -9.0, 2.55, 0.01, 0),
        (dict(bits=4), 0.0, 1.5, 0.1, 0),
        (dict(bits=2), -1.0, 2.0, 1.0, 1),
        (dict(bits=4, symmetric=True, signed=True, narrow=True), -0.7, 0.7, 0.1, 0),
        (dict(bits=16), 0.0, 655.35, 0.01, 0),
    ],
)
def test_choose_qparams(options, low, high, scale, zero_point, device):
    scheme = QScheme(**options)
    ends = torch.tensor([low, high], device=device)
    got_scale, got_zero = choose_qparams(ends[:1], ends[1:], scheme)
    torch.testing.assert_close(got_scale, torch.tensor([scale], device=device))
    assert got_zero.tolist() == [zero_point]
    assert got_zero.dtype == torch.int32


@pytest.mark.parametrize('bits', [2, 3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize('symmetric', [True, False])
@pytest.mark.parametrize('signed', [True, None])
@pytest.mark.parametrize('narrow', [True, False])
@pytest.mark.parametrize('channel_axis', [None, 0, 1, -1])
def test_round_trip(bits, symmetric, signed, narrow, channel_axis, device):
    scheme = QScheme(bits, symmetric, signed, narrow, channel_axis)
    x = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(bits)).to(device)
    rows = (
        x.flatten().view(1, -1) if channel_axis is None else x.movedim(channel_axis, 0).flatten(1)
    )
    scale, zero_point = choose_qparams(rows.amin(1), rows.amax(1), scheme)
    x_int = quantize(x, scale, zero_point, scheme)
    x_hat = fake_quantize(x, scale, zero_point, scheme)
    assert x_int.min() >= scheme.qmin
    assert x_int.max() <= scheme.qmax
    torch.testing.assert_close(dequantize(x_int, scale, zero_point, scheme), x_hat, rtol=0, atol=0)
    # Inside the range the error is half a step; rounding the zero point may clip half a step more.
    step = scheme.broadcast(scale, x.dim())
    limit = 0.5 if symmetric else 1.0
    assert ((x_hat - x).abs() <= step * limit * 1.001 + 1e-7).all()
    again = fake_quantize(x_hat, scale, zero_point, scheme)
    torch.testing.assert_close(again, x_hat, rtol=0, atol=0)
    zero = fake_quantize(torch.zeros_like(x), scale, zero_point, scheme)
    assert (zero == 0).all()


@pytest.mark.parametrize('channel_axis', [None, 1])
def test_same_numbers_and_gradient_as_torch(channel_axis, device):
    scheme = QScheme(4, channel_axis=channel_axis)
    count = 1 if channel_axis is None else 6
    scale = torch.rand(count, device=device) * 0.2 + 0.05
    zero_point = torch.randint(0, 15, (count,), dtype=torch.int32, device=device)
    x = torch.randn(5, 6, 7, device=device)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    y = fake_quantize(ours, scale, zero_point, scheme)
    if channel_axis is None:
        reference = torch.fake_quantize_per_tensor_affine(theirs, scale, zero_point, 0, 15)
    else:
        reference = torch.fake_quantize_per_channel_affine(theirs, scale, zero_point, 1, 0, 15)
    torch.testing.assert_close(y, reference)
    y.square().sum().backward()
    reference.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_all_zero_tensor_stays_zero(device):
    scheme, zeros = QScheme(8), torch.zeros(4, device=device)
    scale, zero_point = choose_qparams(zeros[:1], zeros[:1], scheme)
    assert (fake_quantize(zeros, scale, zero_point, scheme) == 0).all()


def test_lp_error(device):
    x = torch.tensor([[1.0, 2.0], [0.0, 4.0]], device=device)
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]], device=device)
    assert lp_error(x, target, 1).tolist() == [1.25]
    assert lp_error(x, target, 2).tolist() == [3.25]
    assert lp_error(x, target, 2, channel_axis=0).tolist() == [2.0, 4.5]
    assert lp_error(x, target, 2, channel_axis=1).tolist() == [0.0, 6.5]


@pytest.mark.parametrize('bits', [1, 9, 32, '8'])
def test_unsupported_bits(bits):
    with pytest.raises(QuantizationError, match='use 2 to 8, or 16'):
        QScheme(bits)


def test_unknown_scheme_key():
    with pytest.raises(QuantizationError, match="quantizer.act has an unknown key 'bit'"):
        QScheme.from_config(dict(bit=8), 1, 'quantizer.act')


def test_scheme_survives_plain_data():
    scheme = QScheme(4, symmetric=True, signed=True, channel_axis=1)
    assert QScheme(**scheme.to_dict()) == scheme
    assert scheme.describe() == 'int4 sym per-channel'
