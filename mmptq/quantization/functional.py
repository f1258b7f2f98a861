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
    x_int = torch.round(x.float() * (1.0 / scale)) + zero_point
    return x_int.clamp(scheme.qmin, scheme.qmax).to(torch.int32)


def dequantize(x_int: Tensor, scale: Tensor, zero_point: Tensor, scheme: QScheme) -> Tensor:
    """Float tensor that integers stand for."""
    scale, zero_point = (scheme.broadcast(q, x_int.dim()) for q in (scale, zero_point))
    return (x_int - zero_point) * scale


def grid_position(x: Tensor, scale: Tensor, scheme: QScheme) -> Tensor:
    """``x`` in units of the scale (C,), before rounding and without zero point."""
    return x.float() * (1.0 / scheme.broadcast(scale, x.dim()))


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    scheme: QScheme,
    untouched: Tensor | None = None,
) -> Tensor:
    """Quantize and dequantize; the gradient passes straight through inside the range.

    The arithmetic is float32 whatever the type of ``x``, and the result has that type.

    A scale that needs a gradient gets that of LSQ (https://arxiv.org/abs/1902.08153, equation 3):
    ``x_int - zero_point - x / scale`` inside the range, ``x_int - zero_point`` where x is clipped.

    Args:
        x (Tensor): Any shape; the channel axis of ``scheme`` has C indices.
        scale (Tensor): (C,) or (1,).
        zero_point (Tensor): (C,) or (1,) int32.
        scheme (QScheme): The grid.
        untouched (Tensor, optional): bool of the shape of x: values that stay as they are.
    """
    scale, zero_point = (scheme.broadcast(q, x.dim()) for q in (scale, zero_point))
    limits = (scheme.qmin, scheme.qmax)
    y = _FakeQuantize.apply(x.float(), scale.float(), zero_point.float(), limits, untouched)
    return y.to(x.dtype)


class _FakeQuantize(torch.autograd.Function):
    """In-place steps on one copy: on a CPU many times faster than torch's own operator.

    Masks are multiplied: torch.where is several times slower.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        limits: tuple[int, int],
        untouched: Tensor | None,
    ) -> Tensor:
        inverse = 1.0 / scale
        y = (x * inverse).round_().add_(zero_point)
        passes = slope = None
        if any(ctx.needs_input_grad):
            passes = (y >= limits[0]).logical_and_(y <= limits[1])
        y.clamp_(*limits).sub_(zero_point)
        if ctx.needs_input_grad[1]:
            slope = y - (x * inverse).mul_(passes)
        y.mul_(scale)
        if untouched is not None:
            y = mix(y, x, untouched)
            slope = slope if slope is None else slope.mul_(~untouched)
            passes = passes if passes is None else passes.logical_or_(untouched)
        ctx.save_for_backward(passes, slope, scale)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        passes, slope, scale = ctx.saved_tensors
        grad_x = grad * passes if ctx.needs_input_grad[0] else None
        grad_scale = None if slope is None else (grad * slope).sum_to_size(scale.shape)
        return grad_x, grad_scale, None, None, None


def mix(x: Tensor, y: Tensor, chosen: Tensor) -> Tensor:
    """``y`` where ``chosen`` (bool), else ``x``, for finite values without gradient."""
    return (x * ~chosen).add_(y * chosen)


def lp_error(x: Tensor, target: Tensor, p: float, channel_axis: int | None = None) -> Tensor:
    """Mean of ``|x - target|^p``: (1,) over the tensor, or (C,) per index of ``channel_axis``."""
    error = (x - target).abs().pow(p)
    if channel_axis is None:
        return error.mean().view(1)
    return error.transpose(0, channel_axis).flatten(1).mean(1)


def random_mask(x: Tensor, share: float) -> Tensor:
    """A bool tensor of the shape of ``x``, True at random with probability ``share``.

    The share is rounded to a multiple of 1/256: one random byte decides about each value, which
    costs a CPU an eighth of a random float.
    """
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
    draws.random_(-(2**63), None)
    bytes_ = draws.view(torch.uint8)[: x.numel()].view(x.shape)
    threshold = round(share * 256)
    return torch.ones_like(bytes_, dtype=torch.bool) if threshold > 255 else bytes_ < threshold
