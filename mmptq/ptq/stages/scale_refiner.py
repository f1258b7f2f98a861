"""The stage that fits the scales of layer inputs to the positions that matter."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor

from mmptq.adapters import build_adapter
from mmptq.compat.spconv_cpu import remembered_pairs
from mmptq.losses import TaskLoss
from mmptq.ptq import parallel
from mmptq.ptq.build import build_component
from mmptq.ptq.context import PTQContext
from mmptq.ptq.replay.activation_cache import ActivationCache
from mmptq.ptq.search.range_refinement import RefinementSettings, describe, refine
from mmptq.ptq.search.recorded_rows import RecordedRows
from mmptq.ptq.teacher.gradients import Gradients, collect_gradients
from mmptq.ptq.teacher.importance import Importance
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.quantization import FakeQuantizer, QuantMixin, quantizers_off
from mmptq.utils.errors import QuantizationError
from mmptq.utils.hooks import temporary_hooks

from .stage import ADAPTER, FLOAT_MODEL, RANGES, UNLEARNED, Stage

# Ranges with more bits stay: nothing is gained by clipping, and raw points must not be clipped.
MOST_BITS = 8


@TASK_UTILS.register_module()
class ScaleRefiner(Stage):
    """Fits scales and zero points of layer inputs to the errors that an importance weighs.

    For each layer input, S* = argmin_S sum_i w_i ||x_i - x_i(S)||^2 over volumes i of the float
    model with weights of the importance: InlierQ (https://arxiv.org/abs/2602.03472) with
    ``InlierImportance``. Gradients of all layers come from one backward per sample. Then one
    forward per sample records some volumes of each input, and no more forward is needed: from the
    ranges that an earlier stage found (min-max in the paper) a weighted search and gradient descent
    on the scale follow, each kept where the error decreases. Weights of layers stay.

    Inputs with more than 8 bits, and with one scale per channel, stay as they are.

    Note:
        The paper starts from min-max and descends; the search between both, numbers of volumes and
        steps, and the learning rate are our choice.

    Args:
        importance (dict): A subclass of ``Importance`` whose ``per_unit`` is False. Defaults to
            ``dict(type='InlierImportance')``.
        num_samples (int, optional): Calibration samples used at most, evenly spread; None takes
            all of them. Defaults to 64.
        num_positions (int): Volumes recorded per layer and sample, drawn among those that count.
            Defaults to 256.
        num_iters (int): Steps of the descent per layer. Defaults to 40.
        lr (float): Learning rate of the logarithm of the scale. Defaults to 0.01.
        cache_budget (int): Bytes of memory for samples, gradients and recorded volumes. Defaults
            to 4 GiB.

    Example:
        >>> stages = [dict(type='Calibrator'), dict(type='ScaleRefiner', num_samples=64)]
    """

    needs = frozenset({RANGES, FLOAT_MODEL, ADAPTER, UNLEARNED})

    def __init__(
        self,
        importance: dict[str, Any] = dict(type='InlierImportance'),  # noqa: B006 (never changed)
        num_samples: int | None = 64,
        num_positions: int = 256,
        num_iters: int = 40,
        lr: float = 0.01,
        cache_budget: int = 4 * 2**30,
    ):
        smallest = min(num_positions, cache_budget, 1 if num_samples is None else num_samples)
        if smallest < 1 or num_iters < 0 or lr <= 0:
            raise QuantizationError(
                f'ScaleRefiner got num_samples={num_samples!r}, num_positions={num_positions!r}, '
                f'num_iters={num_iters!r}, lr={lr!r}, cache_budget={cache_budget!r}: use numbers '
                '>= 1, num_iters >= 0 and lr > 0'
            )
        self.importance = build_component(
            importance, 'ScaleRefiner: importance', TASK_UTILS, Importance
        )
        if self.importance.per_unit:
            raise QuantizationError(
                f'ScaleRefiner cannot use {type(self.importance).__name__}, which looks at units '
                "while they are learned: use dict(type='InlierImportance')"
            )
        self.loss = build_component(
            self.importance.loss, 'ScaleRefiner: importance.loss', MODELS, TaskLoss
        )
        self.settings = RefinementSettings(num_iters, lr)
        self.num_samples, self.num_positions = num_samples, num_positions
        self.cache_budget = cache_budget

    def run(self, ctx: PTQContext) -> None:
        """Fit all layer inputs; a resumed run takes over the result."""
        layers = _layers(ctx)
        result = ctx.resume and ctx.resume.load('scales')
        if result is None:
            start = time.perf_counter()
            before = {name: _qparams(layer) for name, layer in layers.items()}
            rows = self._refine(ctx, layers)
            parallel.check_same([_qparams(layer) for layer in layers.values()], 'refined scales')
            result = dict(
                scales={name: _qparams(layer) for name, layer in layers.items()}, rows=rows
            )
            moved = sum(
                not torch.equal(old[0], new[0])
                for old, new in zip(before.values(), result['scales'].values(), strict=True)
            )
            seconds = time.perf_counter() - start
            ctx.logger.info(f'refined {moved} of {len(layers)} layer inputs ({seconds:.0f} s)')
            if ctx.resume:
                ctx.resume.save('scales', result)
        for name, qparams in result['scales'].items():
            layers[name].input_quantizer.set_qparams(*qparams)
        for kind, rows in result['rows'].items():
            ctx.record(kind, rows)

    def _refine(self, ctx: PTQContext, layers: dict[str, QuantMixin]) -> dict[str, list]:
        """Set all scales; returns rows for ``run.json`` by kind."""
        directory, share = ctx.work_dir / 'cache', max(1, self.cache_budget // 4)
        seconds = {}
        with ExitStack() as stack:
            stack.enter_context(remembered_pairs())
            samples = stack.enter_context(ActivationCache(share // 2, directory))
            for data in ctx.batches('load', self.num_samples):
                samples.append(data, exact=True)
            with quantizers_off(ctx.model):
                start = time.perf_counter()
                teacher = stack.enter_context(self._teacher(ctx, samples, share // 2))
                gradients = stack.enter_context(Gradients(2 * share, directory))
                collect_gradients(teacher, layers, gradients, ('input',))
                seconds['gradients'] = time.perf_counter() - start
                start = time.perf_counter()
                self.importance.fit(gradients)
                seconds['importance'] = time.perf_counter() - start
                start = time.perf_counter()
                rows = stack.enter_context(self._rows(ctx, gradients, share, directory))
                self._record(teacher, layers, rows)
                seconds['recording'] = time.perf_counter() - start
            start = time.perf_counter()
            refined = [self._refined(name, layer, rows) for name, layer in layers.items()]
            seconds['search'] = time.perf_counter() - start
        return dict(
            importance=self.importance.report(),
            scale_refinement=refined,
            scale_refinement_seconds=[seconds],
        )

    def _teacher(self, ctx: PTQContext, samples: ActivationCache, budget: int) -> TeacherOutputs:
        adapter = build_adapter(ctx.model)
        return TeacherOutputs(ctx.model, adapter, self.loss, samples, budget, required=True)

    def _rows(
        self, ctx: PTQContext, gradients: Gradients, budget: int, directory: Path
    ) -> RecordedRows:
        positions = self.num_positions
        return RecordedRows(self.importance, gradients, positions, ctx.seed, budget, directory)

    @staticmethod
    @torch.no_grad()
    def _record(teacher: TeacherOutputs, layers: dict[str, QuantMixin], rows: RecordedRows) -> None:
        """One float forward per sample."""
        places = parallel.shard_indices(teacher.found)
        for sample, place in zip(teacher.found, places, strict=True):
            hooks = rows.hooks(layers, sample, place)
            with temporary_hooks(hooks, with_kwargs=True):
                teacher.raw_outputs(sample)

    def _refined(self, name: str, layer: QuantMixin, rows: RecordedRows) -> dict[str, Any]:
        quantizer = layer.input_quantizer
        old = describe(quantizer)
        before, after = refine(quantizer, rows.of(name), self.settings)
        new = describe(quantizer)
        return dict(layer=name, before=before, after=after, range_before=old, range_after=new)


def _layers(ctx: PTQContext) -> dict[str, QuantMixin]:
    """Layers whose input has one scale and at most 8 bits, in the order in which they run."""
    found = {}
    for plan in ctx.plan.layers:
        state = ctx.layers.get(plan.name)
        quantizer = state and state.module.input_quantizer
        if isinstance(quantizer, FakeQuantizer) and _fits(quantizer):
            found[plan.name] = state.module
    return found


def _fits(quantizer: FakeQuantizer) -> bool:
    few_bits = quantizer.scheme.bits <= MOST_BITS
    return few_bits and quantizer.scale.numel() == 1 and quantizer.calibrated


def _qparams(layer: QuantMixin) -> tuple[Tensor, Tensor]:
    quantizer = layer.input_quantizer
    return quantizer.scale.detach().cpu().clone(), quantizer.zero_point.detach().cpu().clone()
