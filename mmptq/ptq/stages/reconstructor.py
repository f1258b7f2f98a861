"""The stage that learns rounding and scales, unit by unit, to reproduce the float outputs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS, TASK_UTILS
from torch import nn

from mmptq.adapters import Adapter, build_adapter
from mmptq.compat.spconv_cpu import remembered_pairs
from mmptq.losses import TaskLoss
from mmptq.ptq.build import build_component
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.teacher.fixed_parameters import fixed_parameters
from mmptq.ptq.teacher.importance import Importance
from mmptq.ptq.units.chosen_rows import chosen_rows
from mmptq.ptq.units.find import GRANULARITIES, check_names, find_units, without
from mmptq.ptq.units.reconstruction import Reconstruction, ReconstructionSettings
from mmptq.ptq.units.unit import Unit
from mmptq.ptq.units.unit_training import TrainingSettings
from mmptq.ptq.units.weight_rounding import WeightRounding
from mmptq.quantization import quantizers_off
from mmptq.utils.errors import QuantizationError

from .stage import ADAPTER, FLOAT_MODEL, RANGES, UNLEARNED, Stage

WHERE = 'Reconstructor: '
CHOSEN = 'rows are chosen by the data, so that float and quantized ones do not belong together'


@TASK_UTILS.register_module()
class Reconstructor(Stage):
    """Makes each unit's output on quantized inputs close to its float output.

    Units are learned one after the other in the order in which they run. A unit gets its inputs
    from the quantized units before it and its target from the float model. Rounding of weights
    and scales of layer inputs are learned together. The result is kept only if the loss over all
    calibration samples, with everything rounded, decreased.

    AdaRound (https://arxiv.org/abs/2004.10568) is this with layers, BRECQ
    (https://arxiv.org/abs/2102.05426) with blocks, QDrop (https://arxiv.org/abs/2203.05740) with
    ``drop_prob=0.5``, PD-Quant (https://arxiv.org/abs/2212.07048) with a ``task_loss``; see
    ``configs/_base_/recipes``.

    Units that run on rows which the data chooses (proposals, top-k queries) are left as they are,
    with a warning: the quantized model chooses others. Adapters that give both models the float
    model's proposals make them comparable.

    Where an earlier stage chose the exponent ``p`` of the last layer of a unit, the local loss uses
    this exponent.

    Note:
        The loss is divided by its value before learning, so that the weight of the penalty (see
        :class:`AdaRound`) means the same for every unit, exponent and network; in the papers it
        is for sums over channels. Learning rates of scales are relative to the scale.

    Args:
        granularity (str): 'layer', 'block' or 'network'. Defaults to 'block'.
        units (list, optional): Names or globs of modules that are one unit each, or
            ``dict(name=glob, granularity=...)``; see ``find_units``. Defaults to None.
        skip (list[str]): Names or globs of units that are left as they are. Defaults to ().
        rounding (dict, optional): How rounding is learned, a subclass of ``WeightRounding``; None
            leaves the rounding as it is. Defaults to ``dict(type='AdaRound')``.
        act_lr (float, optional): Learning rate of the scales of layer inputs; None leaves them.
            Defaults to None.
        drop_prob (float): Share of the values of unit inputs that are taken from the float model,
            and of layer inputs that are not quantized, at random in every step. Defaults to 0.
        loss (dict, optional): Local loss, between outputs of a unit; None learns from the
            ``task_loss`` alone. Defaults to ``dict(type='LpLoss', p=2.0)``.
        importance (dict, optional): Weights of the local errors, a subclass of ``Importance`` like
            ``dict(type='FisherImportance')``. Defaults to None.
        task_loss (dict, optional): Loss on head outputs that is added, a subclass of ``TaskLoss``.
            Defaults to None.
        num_iters (int): Steps per unit. Defaults to 500.
        batch_size (int): Samples per step, of all processes together. Defaults to 4.
        num_samples (int, optional): Calibration samples used at most, evenly spread; None takes
            all of them. Defaults to None.
        cache_budget (int): Bytes of memory for recorded activations. Defaults to 4 GiB.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='Reconstructor', drop_prob=0.5)]
    """

    needs = frozenset({RANGES, FLOAT_MODEL})
    breaks = frozenset({UNLEARNED})

    def __init__(
        self,
        granularity: str = 'block',
        units: list[str | dict[str, str]] | None = None,
        skip: list[str] = (),
        rounding: dict[str, Any] | None = dict(type='AdaRound'),  # noqa: B006 (never changed)
        act_lr: float | None = None,
        drop_prob: float = 0.0,
        loss: dict[str, Any] | None = dict(type='LpLoss', p=2.0),  # noqa: B006
        importance: dict[str, Any] | None = None,
        task_loss: dict[str, Any] | None = None,
        num_iters: int = 500,
        batch_size: int = 4,
        num_samples: int | None = None,
        cache_budget: int = 4 * 2**30,
    ):
        _check_options(granularity, drop_prob, num_iters, batch_size, num_samples, cache_budget)
        _check_losses(loss, task_loss, importance)
        training = TrainingSettings(
            rounding and build_component(rounding, f'{WHERE}rounding', TASK_UTILS, WeightRounding),
            act_lr,
            drop_prob,
            num_iters,
            batch_size,
        )
        self.settings = ReconstructionSettings(
            training,
            loss,
            task_loss,
            importance
            and build_component(importance, f'{WHERE}importance', TASK_UTILS, Importance),
            cache_budget,
        )
        self.granularity, self.units, self.skip = granularity, units, skip
        self.num_samples = num_samples
        if granularity == 'network' or importance or task_loss:
            self.needs = self.needs | {ADAPTER}

    def check(self, ctx: PTQContext) -> None:
        """Refuse names in ``units`` and ``skip`` that match nothing, and losses that do not fit."""
        check_names(ctx.plan, self.units or [], self.skip)
        if self.settings.task_loss:
            cfg = self.settings.task_loss
            loss = build_component(cfg, f'{WHERE}task_loss', MODELS, TaskLoss)
            loss.check(build_adapter(ctx.model))
            if loss.whole_network and self.granularity != 'network':
                raise QuantizationError(
                    f'{type(loss).__name__} with these options looks at features of the whole '
                    f"network, not of a {self.granularity}: set granularity='network'"
                )

    def run(self, ctx: PTQContext) -> None:
        """Reconstruct every unit; finished ones of a resumed run are taken as they were."""
        adapter = self._adapter(ctx)
        forward = ctx.predict if adapter is None else adapter.raw_outputs
        budget, directory = self.settings.cache_budget // 4, ctx.work_dir / 'cache'
        with ActivationCache(budget, directory) as samples, fixed_parameters(ctx.model):
            for data in ctx.batches('load', self.num_samples):
                samples.append(data, exact=True)
            with remembered_pairs():
                units = self._find(ctx, forward)
                run = Reconstruction(self.settings, ctx, samples, units, forward, adapter)
                rows = run.run()
        ctx.record('reconstruction', rows)

    def _adapter(self, ctx: PTQContext) -> Adapter | None:
        try:
            return build_adapter(ctx.model)
        except QuantizationError:
            if ADAPTER in self.needs:
                raise
            return None  # a local objective needs none

    def _find(self, ctx: PTQContext, forward: Callable[[Any], Any]) -> list[Unit]:
        """Units of the sample that runs most layers, without those that cannot be compared."""
        found = []
        for data in ctx.batches_at(ctx.plan.samples):
            run = partial(forward, data)
            with torch.no_grad(), quantizers_off(ctx.model):
                run()  # an adapter may prepare something once per sample, which is not traced
                found.append((find_units(ctx.model, run, self.granularity, self.units), run))
        units, run = max(found, key=lambda item: sum(len(unit.layers) for unit in item[0]))
        units = without(units, self.skip)
        chosen = chosen_rows(ctx.model, run, units)
        if chosen:
            ctx.logger.warning(f'left alone, {CHOSEN}: {", ".join(chosen)}')
            ctx.record('left_alone', [dict(unit=name, reason=CHOSEN) for name in chosen])
        return [unit for unit in units if unit.name not in chosen]


def _check_options(
    granularity: str,
    drop_prob: float,
    num_iters: int,
    batch_size: int,
    num_samples: int | None,
    cache_budget: int,
) -> None:
    if granularity not in GRANULARITIES or not 0 <= drop_prob <= 1:
        raise QuantizationError(
            f'Reconstructor got granularity={granularity!r}, drop_prob={drop_prob!r}: use one of '
            f'{", ".join(GRANULARITIES)} and 0 <= drop_prob <= 1'
        )
    if min(num_iters, batch_size, cache_budget, 1 if num_samples is None else num_samples) < 1:
        raise QuantizationError(
            f'Reconstructor got num_iters={num_iters!r}, batch_size={batch_size!r}, '
            f'num_samples={num_samples!r}, cache_budget={cache_budget!r}: all must be >= 1'
        )


def _check_losses(
    loss: dict[str, Any] | None,
    task_loss: dict[str, Any] | None,
    importance: dict[str, Any] | None,
) -> None:
    """Refuse unknown losses, and combinations that leave nothing to learn from."""
    if loss is None and task_loss is None:
        raise QuantizationError(
            "Reconstructor got loss=None and no task_loss: set task_loss=dict(type='...') to "
            "learn from head outputs alone, or loss=dict(type='LpLoss')"
        )
    if loss is None and importance is not None:
        raise QuantizationError(
            'Reconstructor got importance and loss=None: importance weighs the errors of the '
            "local loss, so remove it or set loss=dict(type='LpLoss')"
        )
    if loss is not None:
        build_component(loss, f'{WHERE}loss', MODELS, nn.Module)
    if task_loss is not None:
        build_component(task_loss, f'{WHERE}task_loss', MODELS, TaskLoss)
