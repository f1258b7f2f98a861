"""The stage that learns rounding and scales, unit by unit, to give the float outputs again."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.registry import MODELS, TASK_UTILS

from mmptq.adapters import Adapter, build_adapter
from mmptq.compat.spconv_cpu import remembered_pairs
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.teacher.fixed_parameters import fixed_parameters
from mmptq.ptq.teacher.task_objective import TaskObjective
from mmptq.ptq.units.find import GRANULARITIES, find_units, without
from mmptq.ptq.units.unit import Unit
from mmptq.ptq.units.unit_data import UnitRecorder
from mmptq.ptq.units.unit_objective import UnitObjective
from mmptq.ptq.units.unit_quantizers import UnitQuantizers
from mmptq.ptq.units.unit_training import NotFiniteError, TrainingSettings, mean_loss, train_unit
from mmptq.quantization import AdaRound, QuantizationError

from .stage import ADAPTER, FLOAT_MODEL, RANGES, Stage


@TASK_UTILS.register_module()
class Reconstructor(Stage):
    """Makes each unit's output on quantized inputs close to its float output.

    Units are learned one after the other in the order in which they run. A unit gets its inputs
    from the quantized units before it and its target from the float model. Rounding of weights
    and scales of layer inputs are learned together; what was learned is kept only if the loss
    over all calibration samples, with everything rounded, became smaller.

    AdaRound (https://arxiv.org/abs/2004.10568) is this with layers, BRECQ
    (https://arxiv.org/abs/2102.05426) with blocks, QDrop (https://arxiv.org/abs/2203.05740) with
    ``drop_prob=0.5``, PD-Quant (https://arxiv.org/abs/2212.07048) with a ``task_loss``; see
    ``configs/_base_/recipes``.

    Where stages before chose settings for the last layer of a unit, these are used: ``p`` as the
    exponent of the local objective, ``importance`` as factors of the errors.

    Note:
        The local objective is divided by its value before learning, so that the weight of the
        penalty (see :class:`AdaRound`) means the same for every unit, exponent and network; the
        papers' is for sums over channels. Learning rates of scales are relative to the scale.

    Args:
        granularity (str): 'layer', 'block' or 'network'. Defaults to 'block'.
        units (list, optional): Names or globs of modules that are one unit each, or
            ``dict(name=glob, granularity=...)``; see ``find_units``. Defaults to None.
        skip (list[str]): Names or globs of units that are left as they are. Defaults to ().
        rounding (dict, optional): How rounding is learned; None leaves the rounding as it is.
            Defaults to ``dict(type='AdaRound')``.
        act_lr (float, optional): Learning rate of the scales of layer inputs; None leaves them.
            Defaults to None.
        drop_prob (float): Share of the values of unit inputs that are taken from the float model,
            and of layer inputs that are not quantized, at random in every step. Defaults to 0.
        loss (dict): Local objective. Defaults to ``dict(type='LpLoss', p=2.0)``.
        importance (dict, optional): Config of what weighs the errors, like
            ``dict(type='FisherImportance')``. Defaults to None.
        task_loss (dict, optional): Loss on head outputs that is added. Defaults to None.
        num_iters (int): Steps per unit. Defaults to 500.
        batch_size (int): Samples per step. Defaults to 4.
        num_samples (int, optional): Calibration samples used at most, evenly spread; None takes
            all of them. Defaults to None.
        cache_budget (int): Bytes of memory for recorded activations. Defaults to 4 GiB.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='Reconstructor', drop_prob=0.5)]
    """

    needs = frozenset({RANGES, FLOAT_MODEL})

    def __init__(
        self,
        granularity: str = 'block',
        units: list[str | dict[str, str]] | None = None,
        skip: list[str] = (),
        rounding: dict[str, Any] | None = dict(type='AdaRound'),  # noqa: B006 (never changed)
        act_lr: float | None = None,
        drop_prob: float = 0.0,
        loss: dict[str, Any] = dict(type='LpLoss', p=2.0),  # noqa: B006
        importance: dict[str, Any] | None = None,
        task_loss: dict[str, Any] | None = None,
        num_iters: int = 500,
        batch_size: int = 4,
        num_samples: int | None = None,
        cache_budget: int = 4 * 2**30,
    ):
        if granularity not in GRANULARITIES or not 0 <= drop_prob <= 1:
            raise QuantizationError(
                f'Reconstructor got granularity={granularity!r}, drop_prob={drop_prob!r}: use '
                f'one of {", ".join(GRANULARITIES)} and a share from 0 to 1'
            )
        if min(num_iters, batch_size, cache_budget, 1 if num_samples is None else num_samples) < 1:
            raise QuantizationError(
                f'Reconstructor got num_iters={num_iters!r}, batch_size={batch_size!r}, '
                f'num_samples={num_samples!r}, cache_budget={cache_budget!r}: use numbers of at '
                'least 1'
            )
        self.settings = TrainingSettings(
            _rounding(rounding), act_lr, drop_prob, num_iters, batch_size
        )
        self.granularity, self.units, self.skip = granularity, units, skip
        self.loss = _known(loss, 'loss', MODELS)
        self.importance = importance and TASK_UTILS.build(_known(importance, 'importance'))
        self.task_loss = task_loss and _known(task_loss, 'task_loss', MODELS)
        self.num_samples = num_samples
        self.cache_budget = cache_budget
        if granularity == 'network' or importance or task_loss:
            self.needs = self.needs | {ADAPTER}

    def run(self, ctx: PTQContext) -> None:
        """Reconstruct every unit; finished ones of a resumed run are taken as they were."""
        adapter = self._adapter(ctx)
        forward = ctx.predict if adapter is None else adapter.raw_outputs
        directory = ctx.work_dir / 'cache'
        with (
            ActivationCache(self.cache_budget // 4, directory) as samples,
            fixed_parameters(ctx.model),
        ):
            for data in ctx.batches('load', self.num_samples):
                samples.append(data)
            with remembered_pairs():
                units = self._find(ctx, lambda: forward(samples[0]))
                _Run(self, ctx, samples, units, forward, adapter).reconstruct()

    def _adapter(self, ctx: PTQContext) -> Adapter | None:
        try:
            return build_adapter(ctx.model)
        except QuantizationError:
            if ADAPTER in self.needs:
                raise
            return None  # a local objective needs none

    def _find(self, ctx: PTQContext, run: Callable[[], Any]) -> list[Unit]:
        with torch.no_grad():
            run()  # what an adapter prepares once per sample is no part of what is watched next
        units = find_units(ctx.model, run, self.granularity, self.units)
        return without(units, self.skip)


class _Run:
    """One run of a Reconstructor: what its settings mean for this model and these samples."""

    def __init__(
        self,
        stage: Reconstructor,
        ctx: PTQContext,
        samples: ActivationCache,
        units: list[Unit],
        forward: Callable[[Any], Any],
        adapter: Adapter | None,
    ):
        self.stage, self.ctx, self.samples, self.units = stage, ctx, samples, units
        self.forward = forward
        layers = [layer for unit in units for layer in unit.layers.values()]

        def task(loss: dict[str, Any] | None, required: bool) -> TaskObjective | None:
            return loss and TaskObjective(ctx.model, adapter, loss, samples, layers, required)

        self.task = task(stage.task_loss, False)
        self.importance_task = task(stage.importance and stage.importance.loss, True)
        keep_float = stage.settings.drop_prob > 0
        self.recorder = UnitRecorder(ctx.model, samples, forward, keep_float)

    def reconstruct(self) -> None:
        """All units, one after the other."""
        rows, start = [], time.perf_counter()
        for index, unit in enumerate(self.units):
            quantizers = UnitQuantizers(unit)
            result = self.ctx.resume and self.ctx.resume.load(unit.name)
            if result is None:
                result = self._learn(unit, quantizers, self.ctx.seed + index)
                if self.ctx.resume:
                    self.ctx.resume.save(unit.name, result)
            quantizers.load_state(result['quantizers'])
            for task in filter(None, (self.task, self.importance_task)):
                task.finish(unit)
            row = {key: result[key] for key in ('before', 'after', 'note')}
            rows.append(dict(unit=unit.name or 'network', **row))
            left = (time.perf_counter() - start) / (index + 1) * (len(self.units) - index - 1)
            self._report(index, rows[-1], left)
        self.ctx.record('reconstruction', rows)

    def _report(self, index: int, row: dict[str, Any], left: float) -> None:
        text = f'unit {index + 1}/{len(self.units)} {row["unit"]}: '
        text += f'loss {row["before"]:.4g} -> {row["after"]:.4g}'
        if row['note']:
            self.ctx.logger.warning(f'{text}, {row["note"]}')
        self.ctx.logger.info(f'{text}, {left:.0f} s left')

    def _learn(self, unit: Unit, quantizers: UnitQuantizers, seed: int) -> dict[str, Any]:
        """Learn one unit; returns what is kept of it, and the loss before and after."""
        budget = max(1, self.stage.cache_budget - self.samples.used_bytes)
        quarter = budget // 4 if self.task else 0
        with (
            ActivationCache(budget - quarter, self.samples.directory) as cache,
            ExitStack() as stack,
        ):
            stack.enter_context(torch.random.fork_rng())
            torch.manual_seed(seed)
            objective = self._objective(unit)
            self._record(unit, objective, cache)
            if self.task:
                stack.enter_context(self.task.replaying(unit, quarter))
            original = quantizers.state()
            before = mean_loss(cache, objective)
            after = self._train(quantizers, cache, objective, before)
        if after <= before:
            return dict(before=before, after=after, note='', quantizers=quantizers.state())
        note = 'is worse' if after > before else 'is not finite'
        note = f'rolled back: the loss {note} after learning'
        return dict(before=before, after=after, note=note, quantizers=original)

    def _train(
        self,
        quantizers: UnitQuantizers,
        cache: ActivationCache,
        objective: UnitObjective,
        before: float,
    ) -> float:
        if before == 0:
            return before  # nothing is lost, so that there is nothing to learn
        try:
            train_unit(quantizers, cache, objective, self.stage.settings, before)
            return mean_loss(cache, objective)
        except NotFiniteError:
            return float('nan')

    def _objective(self, unit: Unit) -> UnitObjective:
        settings = [self.ctx.layers[name] for name in unit.layers if name in self.ctx.layers]
        exponents = [setting.p for setting in settings if setting.p is not None]
        weights = [setting.importance for setting in settings if setting.importance is not None]
        local = dict(self.stage.loss, **(dict(p=exponents[-1]) if exponents else {}))
        return UnitObjective(
            unit,
            unit.module if unit.name else self.forward,
            MODELS.build(local),
            self.task,
            weights[-1] if weights else None,
        )

    def _record(self, unit: Unit, objective: UnitObjective, cache: ActivationCache) -> None:
        for index in range(len(self.samples)):
            entry = self.recorder.record(unit, index)
            if self.importance_task:
                with torch.no_grad():
                    outputs = objective.outputs(entry, 0.0)
                entry['importance'] = self.stage.importance.estimate(
                    self.importance_task, unit, index, outputs
                )
            cache.append(entry)


def _rounding(cfg: dict[str, Any] | None) -> AdaRound | None:
    if cfg is None:
        return None
    cfg = dict(cfg)
    kind = cfg.pop('type', None)
    if kind != 'AdaRound':
        raise QuantizationError(f"rounding.type='{kind}' is unknown: use 'AdaRound', or None")
    return AdaRound(**cfg)


def _known(cfg: dict[str, Any], key: str, registry: Any = TASK_UTILS) -> dict[str, Any]:
    if registry.get(cfg.get('type')) is None:
        raise QuantizationError(
            f"Reconstructor: {key}.type='{cfg.get('type')}' is unknown: check the name, and that "
            'custom_imports imports its file'
        )
    return cfg
