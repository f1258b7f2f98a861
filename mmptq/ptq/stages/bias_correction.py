"""The stage that takes the mean error of every output channel off its bias."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.units.find import find_units
from mmptq.quantization import QuantizationError, QuantMixin, quantizers_off
from mmptq.quantization.layers import channel_rows
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.stop_forward import StopForward
from mmptq.utils.trees import tensors_in

from .stage import FLOAT_MODEL, RANGES, Stage


@TASK_UTILS.register_module()
class BiasCorrection(Stage):
    """Makes the mean of every output channel that of the float model, layer by layer.

    The empirical form of section 4.2 of https://arxiv.org/abs/1906.04721: layers in the order in
    which they run, each on inputs from corrected layers. Layers without a bias are left alone.

    Note:
        It changes biases, so that the float model is no longer at hand: put it last.

    Args:
        num_samples (int): Calibration samples that are used, evenly spread. Defaults to 32.
        cache_budget (int): Bytes of memory for these samples. Defaults to 4 GiB.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='BiasCorrection')]
    """

    needs = frozenset({RANGES, FLOAT_MODEL})
    breaks = frozenset({FLOAT_MODEL})

    def __init__(self, num_samples: int = 32, cache_budget: int = 4 * 2**30):
        if min(num_samples, cache_budget) < 1:
            raise QuantizationError(
                f'BiasCorrection got num_samples={num_samples!r}, cache_budget={cache_budget!r}: '
                'use numbers of at least 1'
            )
        self.num_samples = num_samples
        self.cache_budget = cache_budget

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Correct the bias of every quantized layer that has one."""
        with ActivationCache(self.cache_budget, ctx.work_dir / 'cache') as samples:
            for data in ctx.batches('load', self.num_samples):
                samples.append(data, exact=True)
            first = ctx.first_batch()
            units = find_units(ctx.model, lambda: ctx.predict(first), 'layer')
            layers = {name: layer for unit in units for name, layer in unit.layers.items()}
            layers = {name: layer for name, layer in layers.items() if layer.bias is not None}
            calls = {layer: unit.num_calls for unit in units for layer in unit.layers.values()}
            runs = [lambda i=i: ctx.predict(samples[i]) for i in range(len(samples))]
            with quantizers_off(ctx.model):
                targets = mean_outputs(layers.values(), runs)
            rows = []
            for name, layer in layers.items():
                error = mean_outputs([layer], runs, calls[layer])[layer] - targets[layer]
                layer.bias.sub_(error)
                rows.append(dict(layer=name, shift=error.abs().mean().item()))
        ctx.record('bias_correction', rows)
        mean = sum(row['shift'] for row in rows) / max(len(rows), 1)
        ctx.logger.info(f'corrected {len(rows)} biases, mean abs shift {mean:.3g}')


class _Mean:
    """Running mean per channel."""

    def __init__(self):
        self.total: Tensor | float = 0.0
        self.count = 0
        self.calls = 0

    def update(self, rows: Tensor) -> None:
        self.total = self.total + rows.sum(1, dtype=torch.float64)
        self.count += rows.shape[1]
        self.calls += 1


def mean_outputs(
    layers: Iterable[QuantMixin],
    runs: list[Callable[[], Any]],
    last_call: int | None = None,
) -> dict[nn.Module, Tensor]:
    """Mean output (C,) of each layer over all positions of all samples and calls.

    The samples are those of all processes.

    Args:
        layers (Iterable[QuantMixin]): The layers.
        runs (list[Callable]): Each runs the model on one sample.
        last_call (int, optional): Number of the call after which a run is stopped; None lets
            the model run to its end.
    """
    means = {layer: _Mean() for layer in layers}

    def hook(layer, args, output):
        mean = means[layer]
        for x in tensors_in(output):
            mean.update(channel_rows(layer, x))
        if last_call is not None and mean.calls % last_call == 0:
            raise StopForward

    with temporary_hooks(after=dict.fromkeys(means, hook)):
        for run in runs:
            with suppress(StopForward):
                run()
    result = {}
    for layer, mean in means.items():
        sums = torch.zeros(len(layer.bias) + 1, dtype=torch.float64, device=layer.bias.device)
        sums[:-1], sums[-1] = mean.total, mean.count
        parallel.sum_(sums)
        result[layer] = (sums[:-1] / sums[-1].clamp(min=1)).to(layer.bias.dtype)
    return result
