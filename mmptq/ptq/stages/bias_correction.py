"""The stage that takes the mean error of every output channel off its bias."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.compat.spconv_cpu import remembered_pairs
from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.recording.unit_recorder import UnitRecorder
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.units.find import find_units
from mmptq.ptq.units.unit import Unit
from mmptq.quantization import QuantizationError, QuantMixin, quantizers_off
from mmptq.quantization.layers import channel_rows
from mmptq.utils.hooks import temporary_hooks
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
        cache_budget (int): Bytes of memory for these samples, and for what is kept between layers.
            Defaults to 4 GiB.

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
        half = max(1, self.cache_budget // 2)
        with ActivationCache(half, ctx.work_dir / 'cache') as samples, remembered_pairs():
            for data in ctx.batches('load', self.num_samples):
                samples.append(data, exact=True)
            first = ctx.first_batch()
            units = find_units(ctx.model, lambda: ctx.predict(first), 'layer')
            units = [unit for unit in units if _biased(unit)]
            recorder = UnitRecorder(ctx.model, samples, ctx.predict, False, False, units, half)
            with recorder:
                rows = self._correct(ctx, recorder, units)
        ctx.record('bias_correction', rows)
        mean = sum(row['shift'] for row in rows) / max(len(rows), 1)
        ctx.logger.info(f'corrected {len(rows)} biases, mean abs shift {mean:.3g}')

    def _correct(
        self, ctx: PTQContext, recorder: UnitRecorder, units: list[Unit]
    ) -> list[dict[str, Any]]:
        samples, rows = recorder.samples, []
        layers = [layer for unit in units for layer in _biased(unit).values()]
        with quantizers_off(ctx.model):
            runs = [lambda i=i: ctx.predict(samples[i]) for i in range(len(samples))]
            targets = mean_outputs(layers, runs)
        for unit in units:
            runs = (partial(_run_calls, unit, entry) for entry in recorder.record_unit(unit))
            found = mean_outputs(_biased(unit).values(), runs)
            for name, layer in _biased(unit).items():
                error = found[layer] - targets[layer]
                layer.bias.sub_(error)
                rows.append(dict(layer=name, shift=error.abs().mean().item()))
            recorder.finish(unit)
        return rows


def _biased(unit: Unit) -> dict[str, QuantMixin]:
    """The layers of a unit that have a bias."""
    return {name: layer for name, layer in unit.layers.items() if layer.bias is not None}


def _run_calls(unit: Unit, entry: dict[str, Any]) -> None:
    """Run a unit on what was recorded of a sample."""
    for args, kwargs in entry['input']:
        unit.module(*args, **kwargs)


class _Mean:
    """Running mean per channel."""

    def __init__(self):
        self.total: Tensor | float = 0.0
        self.count = 0

    def update(self, rows: Tensor) -> None:
        self.total = self.total + rows.sum(1, dtype=torch.float64)
        self.count += rows.shape[1]


def mean_outputs(
    layers: Iterable[QuantMixin], runs: Iterable[Callable[[], Any]]
) -> dict[nn.Module, Tensor]:
    """Mean output (C,) of each layer over all positions of all samples and calls.

    The samples are those of all processes.

    Args:
        layers (Iterable[QuantMixin]): The layers, with biases.
        runs (Iterable[Callable]): Each runs the model, or a part of it, on one sample.
    """
    means = {layer: _Mean() for layer in layers}

    def hook(layer, args, output):
        for x in tensors_in(output):
            means[layer].update(channel_rows(layer, x))

    for run in runs:  # a generator may run the model, too
        with temporary_hooks(after=dict.fromkeys(means, hook)):
            run()
    result = {}
    for layer, mean in means.items():
        sums = torch.zeros(len(layer.bias) + 1, dtype=torch.float64, device=layer.bias.device)
        sums[:-1], sums[-1] = mean.total, mean.count
        parallel.sum_(sums)
        result[layer] = (sums[:-1] / sums[-1].clamp(min=1)).to(layer.bias.dtype)
    return result
