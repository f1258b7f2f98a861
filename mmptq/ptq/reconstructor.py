"""The stage that learns rounding and scales, unit by unit, to give the float outputs again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor

from mmptq.quantization import AdaRound, QuantizationError

from .activation_cache import ActivationCache
from .block_units import BlockUnit, find_units
from .context import PTQContext
from .trees import flatten
from .unit_data import mix_arguments, record_unit
from .unit_quantizers import UnitQuantizers
from .unit_training import NotFiniteError, TrainingSettings, mean_loss, train_unit


@TASK_UTILS.register_module()
class Reconstructor:
    """Makes each unit's output on quantized inputs close to its float output.

    Units are learned one after the other in the order in which they run. A unit gets its inputs
    from the quantized units before it and its target from the float model. Rounding of weights
    and scales of layer inputs are learned together; what was learned is kept only if the loss
    over all calibration samples became smaller.

    Args:
        granularity (str): 'layer', 'block' or 'network'. Defaults to 'block'.
        units (list, optional): Names or globs of modules that are one unit each, or
            ``dict(name=glob, granularity=...)``; see ``find_units``. Defaults to None.
        rounding (dict, optional): How rounding is learned; None leaves rounding to the nearest.
            Defaults to ``dict(type='AdaRound')``.
        act_lr (float, optional): Learning rate of the scales of layer inputs; None leaves them.
            Defaults to None.
        drop_prob (float): Share of values that are not quantized in a step. Defaults to 0.
        loss (dict): Local objective. Defaults to ``dict(type='LpLoss', p=2.0)``.
        num_iters (int): Steps per unit. Defaults to 500.
        batch_size (int): Samples per step. Defaults to 4.
        cache_budget (int): Bytes of memory for recorded activations. Defaults to 4 GiB.
    """

    def __init__(
        self,
        granularity: str = 'block',
        units: list[str | dict[str, str]] | None = None,
        rounding: dict[str, Any] | None = dict(type='AdaRound'),  # noqa: B006 (never changed)
        act_lr: float | None = None,
        drop_prob: float = 0.0,
        loss: dict[str, Any] = dict(type='LpLoss', p=2.0),  # noqa: B006
        num_iters: int = 500,
        batch_size: int = 4,
        cache_budget: int = 4 * 2**30,
    ):
        self.granularity = granularity
        self.units = units
        self.settings = TrainingSettings(
            _rounding(rounding), act_lr, drop_prob, num_iters, batch_size
        )
        self.loss = loss
        self.cache_budget = cache_budget

    def run(self, ctx: PTQContext) -> None:
        """Reconstruct every unit; finished ones of a resumed run are taken as they were."""
        wanted = [p for p in ctx.model.parameters() if p.requires_grad]
        try:
            for parameter in wanted:
                parameter.requires_grad_(False)
            self._run(ctx)
        finally:
            for parameter in wanted:
                parameter.requires_grad_(True)

    def _run(self, ctx: PTQContext) -> None:
        directory = ctx.work_dir / 'cache'
        with ActivationCache(self.cache_budget // 4, directory) as samples:
            for data in ctx.batches('reconstruct: load'):
                samples.append(data)
            units = find_units(
                ctx.model, lambda: ctx.predict(samples[0]), self.granularity, self.units
            )
            start = time.perf_counter()
            for index, unit in enumerate(units):
                self._run_unit(ctx, unit, index, samples, directory)
                passed = time.perf_counter() - start
                left = passed / (index + 1) * (len(units) - index - 1)
                ctx.logger.info(f'unit {index + 1}/{len(units)} done, {left:.0f} s left')

    def _run_unit(
        self,
        ctx: PTQContext,
        unit: BlockUnit,
        index: int,
        samples: ActivationCache,
        directory: Path,
    ) -> None:
        quantizers = UnitQuantizers(unit)
        state = ctx.resume and ctx.resume.load(unit.name)
        if state is None:
            with (
                ActivationCache(self.cache_budget - samples.used_bytes, directory) as cache,
                torch.random.fork_rng(),
            ):
                torch.manual_seed(ctx.seed + index)
                keep_float = self.settings.drop_prob > 0
                record_unit(cache, ctx.model, unit, samples, ctx.predict, keep_float)
                state = self._learn(quantizers, cache, self._objective(ctx, unit))
            if ctx.resume:
                ctx.resume.save(unit.name, state)
        quantizers.load_state(state['quantizers'])
        ctx.logger.info(
            f"'{unit.name}': loss {state['before']:.5g} -> {state['after']:.5g} {state['note']}"
        )

    def _learn(
        self, quantizers: UnitQuantizers, cache: ActivationCache, objective: Callable
    ) -> dict[str, Any]:
        """Learn one unit; returns what is kept of it, and the loss before and after."""
        original = quantizers.state()
        before = mean_loss(cache, objective)
        try:
            train_unit(quantizers, cache, objective, self.settings)
            after = mean_loss(cache, objective)
        except NotFiniteError:
            after = float('nan')
        kept = quantizers.state() if after <= before else original
        note = '' if after <= before else 'rolled back'
        return dict(before=before, after=after, quantizers=kept, note=note)

    def _objective(self, ctx: PTQContext, unit: BlockUnit) -> Callable[[dict, float], Tensor]:
        loss = MODELS.build(self.loss)

        def objective(entry: dict, drop_prob: float) -> Tensor:
            losses = []
            floats = entry.get('float_input', entry['input'])
            for call, original, target in zip(entry['input'], floats, entry['target'], strict=True):
                args, kwargs = mix_arguments(call, original, drop_prob)
                outputs, targets = flatten(unit.module(*args, **kwargs))[0], flatten(target)[0]
                losses += [
                    loss(x, y)
                    for x, y in zip(outputs, targets, strict=True)
                    if y.is_floating_point()
                ]
            return sum(losses) / len(losses)

        return objective


def _rounding(cfg: dict[str, Any] | None) -> AdaRound | None:
    if cfg is None:
        return None
    cfg = dict(cfg)
    kind = cfg.pop('type', None)
    if kind != 'AdaRound':
        raise QuantizationError(f"rounding.type='{kind}' is unknown: use 'AdaRound', or None")
    return AdaRound(**cfg)
