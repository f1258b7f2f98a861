"""Quantization arithmetic as pure functions."""

import torch
from torch import Tensor

from .scheme import QScheme

# A scale below this would overflow in 1/scale; such a tensor is all zero for any purpose.
SMALLEST_SCALE = 1e-10


def choose_qparams(low: Tensor, high: Tensor, scheme: QScheme) -> tuple[Tensor, Tensor]:
    """Scale and zero point that cover a range; 0 is always inside and exactly representable.

    Args:
        low (Tensor): (C,) lower ends, C = 1 per tensor.
        high (Tensor): (C,) upper ends.
        scheme (QScheme): The grid.

    Returns:
        tuple: scale (C,) float32 and zero_point (C,) int32.
    """
    low = low.float().clamp(max=0)
    high = high.float().clamp(min=0)
    if scheme.symmetric:
        middle = torch.full_like(low, scheme.middle)
        if scheme.signed is None:
            middle = torch.where(low < 0, middle, torch.zeros_like(middle))
        elif not scheme.signed:
            middle = torch.zeros_like(middle)
        bound = torch.maximum(-low, high) if scheme.signed is not False else high
        scale = (bound / (scheme.qmax - middle)).clamp(min=SMALLEST_SCALE)
        return scale, middle.to(torch.int32)
    scale = ((high - low) / (scheme.qmax - scheme.qmin)).clamp(min=SMALLEST_SCALE)
    zero_point = (scheme.qmin - torch.round(low / scale)).clamp(scheme.qmin, scheme.qmax)
    return scale, zero_point.to(torch.int32)


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, scheme: QScheme) -> Tensor:
    """Integers (int32, shape of x) of a float tensor."""
    scale, zero_point = (scheme.broadcast(q, x.dim()) for q in (scale, zero_point))
    # The reciprocal, and not a division, so that the integers are those of fake_quantize.
    x_int = torch.round(x * (1.0 / scale)) + zero_point
    return x_int.clamp(scheme.qmin, scheme.qmax).to(torch.int32)


def dequantize(x_int: Tensor, scale: Tensor, zero_point: Tensor, scheme: QScheme) -> Tensor:
    """Float tensor that integers stand for."""
    scale, zero_point = (scheme.broadcast(q, x_int.dim()) for q in (scale, zero_point))
    return (x_int - zero_point) * scale


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, scheme: QScheme) -> Tensor:
    """Quantize and dequantize; the gradient passes straight through inside the range.

    Args:
        x (Tensor): Any shape; the channel axis of ``scheme`` has C indices.
        scale (Tensor): (C,) or (1,).
        zero_point (Tensor): (C,) or (1,) int32.
        scheme (QScheme): The grid.
    """
    scale, zero_point = (scheme.broadcast(q, x.dim()) for q in (scale, zero_point))
    return _FakeQuantize.apply(x, scale, zero_point.to(x.dtype), scheme.qmin, scheme.qmax)


class _FakeQuantize(torch.autograd.Function):
    """In-place steps on one copy: on a CPU many times faster than torch's own operator."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int) -> Tensor:
        y = (x * (1.0 / scale)).round_().add_(zero_point)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward((y >= qmin) & (y <= qmax))
        return y.clamp_(qmin, qmax).sub_(zero_point).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None, None, None


def lp_error(x: Tensor, target: Tensor, p: float, channel_axis: int | None = None) -> Tensor:
    """Mean of ``|x - target|^p``: (1,) over the tensor, or (C,) per index of ``channel_axis``."""
    error = (x - target).abs().pow(p)
    if channel_axis is None:
        return error.mean().view(1)
    return error.transpose(0, channel_axis).flatten(1).mean(1)
