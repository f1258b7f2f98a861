"""Weight scales that minimise the error of a layer's output."""

from typing import Any

import torch
from torch import Tensor

from mmptq.observers.observer import value_range
from mmptq.ptq import parallel
from mmptq.quantization import FakeQuantizer, QuantMixin, choose_qparams
from mmptq.quantization.layers import channel_rows
from mmptq.utils.trees import copy_tensors, is_sparse

QParams = tuple[Tensor, Tensor]  # scale and zero point

# Errors are taken at this many positions of all calls of a layer together.
NUM_POSITIONS = 1024


@torch.no_grad()
def search_output(
    layer: QuantMixin, calls: list[tuple], exponents: list[float], fractions: Tensor
) -> dict[float, QParams]:
    """For each exponent p the scales that minimise ``mean |y - y_hat|^p`` of the output y.

    Output channels have scales of their own, so each finds its own best fraction of its min-max
    range. All calls count the same, whatever their size: otherwise the largest level of a pyramid
    would decide alone. The input is not quantized meanwhile. Each process tries some fractions.

    Args:
        layer (QuantMixin): With a weight quantizer, which is restored afterwards.
        calls (list[tuple]): Arguments of the layer.
        exponents (list[float]): The exponents p.
        fractions (Tensor): (T,) of the min-max range, from large to small.
    """
    quantizer = layer.weight_quantizer
    candidates = _candidates(layer, quantizer, fractions)
    before = quantizer.scale.clone(), quantizer.zero_point.clone()
    shape = len(candidates), quantizer.scale.numel()
    errors = {p: torch.zeros(shape, device=quantizer.scale.device) for p in exponents}
    states = [_switch(slot, False) for slot in (layer.input_quantizer, quantizer)]
    try:
        for args in calls:
            _switch(quantizer, False)
            target = _rows(layer, args, NUM_POSITIONS // len(calls))
            _switch(quantizer, True)
            for index, qparams in parallel.shard(list(enumerate(candidates))):
                quantizer.set_qparams(*qparams)
                distance = (_rows(layer, args, NUM_POSITIONS // len(calls)) - target).abs_()
                for p, error in errors.items():
                    error[index] += _per_scale(power(distance, p), quantizer)
    finally:
        quantizer.set_qparams(*before)
        for slot, state in zip((layer.input_quantizer, quantizer), states, strict=True):
            _switch(slot, state)
    parallel.sum_(*errors.values())  # each error is zero in all processes but one
    return {p: _best(error, candidates) for p, error in errors.items()}


def _candidates(layer: QuantMixin, quantizer: FakeQuantizer, fractions: Tensor) -> list[QParams]:
    rows = layer.weight.detach().transpose(0, layer.weight_axis).flatten(1)
    if quantizer.scheme.channel_axis is None:
        rows = rows.reshape(1, -1)
    low, high = value_range(rows)
    return [choose_qparams(f * low, f * high, quantizer.scheme) for f in fractions]


def _switch(slot: Any, enabled: bool) -> bool:
    """Turn a quantizer on or off; returns its previous state."""
    before = getattr(slot, 'enabled', False)
    if isinstance(slot, FakeQuantizer):
        slot.enabled = enabled
    return before


def _rows(layer: QuantMixin, args: tuple, num_positions: int) -> Tensor:
    """Output (C, K) of the layer at about ``num_positions`` evenly spread positions."""
    output = layer(*copy_tensors(args))
    output = output.features if is_sparse(output) else output
    rows = channel_rows(layer, output)
    return rows[:, :: max(1, rows.shape[1] // max(1, num_positions))]


def _per_scale(error: Tensor, quantizer: FakeQuantizer) -> Tensor:
    """Mean of errors (C, K) for each scale."""
    mean = error.mean(1)
    return mean if quantizer.scheme.channel_axis is not None else mean.mean().view(1)


def _best(errors: Tensor, candidates: list[QParams]) -> QParams:
    """The candidates with the smallest errors (T, C), per scale."""
    index = errors.argmin(0, keepdim=True)  # the first, and so the largest, of equal ones
    scale, zero_point = (torch.stack(part) for part in zip(*candidates, strict=True))
    index = index.to(scale.device)
    return scale.gather(0, index)[0], zero_point.gather(0, index)[0]


def power(x: Tensor, p: float) -> Tensor:
    """``x ** p`` for x >= 0; where 2 p is a small integer much faster than torch's own."""
    if p > 8 or (2 * p) % 1:
        return x.pow(p)
    whole = int(p)
    result = x.sqrt() if p % 1 else torch.ones_like(x)
    factor = x
    while whole:
        if whole % 2:
            result = result * factor
        whole //= 2
        factor = factor.square() if whole else factor
    return result
