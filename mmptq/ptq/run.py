"""Quantizing a model step by step: plan, conversion, stages, checks, frozen weights."""

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

from mmptq.compat.attention import keep_attention_unfused
from mmptq.ptq import parallel
from mmptq.ptq.checks.float_weights import check_weights
from mmptq.ptq.checks.invariants import convert_checked
from mmptq.quantization import (
    QuantizationError,
    coverage_rows,
    freeze,
    make_plan,
    model_size,
    product_quantizers,
    quantized_layers,
)
from mmptq.utils.eager import eager
from mmptq.utils.files import write_json
from mmptq.utils.precision import full_precision

from .context import PTQContext
from .stages.recipe import stage_facts
from .stages.stage import RANGES

COVERAGE_FILE = 'coverage.json'


@full_precision()
def plan_model(ctx: PTQContext, quantizer: dict[str, Any]) -> None:
    """Decide what is folded and quantized; the model does not change.

    Args:
        ctx (PTQContext): Gets the plan.
        quantizer (dict): See ``mmptq.quantization.placement.place``.

    Raises:
        QuantizationError: If the model is quantized already, the config does not fit it, weights
            hold NaN or Inf, or the backend of the context cannot run the plan.
    """
    start = time.perf_counter()
    keep_attention_unfused(ctx.model)
    first = ctx.first_batch()
    parallel.check_same(ctx.model, 'float weights')
    with eager(ctx.model):
        ctx.plan = make_plan(ctx.model, quantizer, lambda: ctx.predict(first), _further_runs(ctx))
    check_weights(ctx.model, ctx.plan)
    parallel.check_same(ctx.plan.to_dict(), 'planned layers')
    ctx.checks = [dict(check='layers run', seconds=time.perf_counter() - start)]
    if ctx.limits is not None:
        ctx.limits.check_plan(ctx.plan.layers)


def _further_runs(ctx: PTQContext) -> Iterator[Callable[[], Any]]:
    """Runs of all samples but the first; begun only where a layer did not run in that one."""
    for data in ctx.batches_at(range(1, len(ctx.loader))):
        yield lambda data=data: ctx.predict(data)


@full_precision()
def convert_model(ctx: PTQContext) -> None:
    """Carry out the plan: BatchNorms folded, layers converted, nothing calibrated yet.

    Raises:
        QuantizationError: See ``convert_checked``.
    """
    with eager(ctx.model):
        convert_checked(ctx)


def prepare_model(ctx: PTQContext, quantizer: dict[str, Any]) -> None:
    """``plan_model`` and ``convert_model``: after this, stages can run."""
    plan_model(ctx, quantizer)
    convert_model(ctx)


@full_precision()
def run_stages(ctx: PTQContext, stages: list[Any]) -> None:
    """Run the stages one after the other; each gets its row in ``run.json``."""
    for index, stage in enumerate(stages):
        ctx.stage = f'{index}-{type(stage).__name__}'
        if ctx.resume is not None:
            ctx.resume.stage = ctx.stage
        start = time.perf_counter()
        ctx.quantized_metrics = None
        with eager(ctx.model):
            stage.run(ctx)
        parallel.check_same(ctx.model, f'weights or scales after {type(stage).__name__}')
        parallel.check_same(ctx.plan.to_dict(), f'bits of layers after {type(stage).__name__}')
        ctx.run_record.add_stage(ctx.stage, time.perf_counter() - start)
    ctx.stage = None


def calibrate_model(ctx: PTQContext, stages: list[Any]) -> None:
    """Run only the stages up to the first that calibrates."""
    count = next(i for i, stage in enumerate(stages, 1) if RANGES in stage_facts(stage, 'gives'))
    run_stages(ctx, stages[:count])


@full_precision()
def finish_model(ctx: PTQContext) -> None:
    """Check what the stages left, write the weights on their grids, record the coverage.

    Raises:
        QuantizationError: If a quantizer has no scale, or the backend cannot run a layer.
    """
    check_calibrated(ctx)
    if ctx.limits is not None:
        ctx.limits.check_plan(ctx.plan.layers)  # stages may have changed bits
    freeze(ctx.model)
    write_coverage(ctx)


def quantize_model(ctx: PTQContext, stages: list[Any]) -> None:
    """Everything after the plan.

    Args:
        ctx (PTQContext): Planned, with the float model.
        stages (list): What ``build_stages`` returned.
    """
    # Activation files of a run that was killed.
    if parallel.is_main():
        shutil.rmtree(ctx.work_dir / 'cache', ignore_errors=True)
    parallel.barrier()
    write_coverage(ctx)
    convert_model(ctx)
    parallel.check_same(ctx.plan.to_dict(), 'layers that stay float')
    write_coverage(ctx)
    ctx.record('checks', ctx.checks)
    run_stages(ctx, stages)
    ctx.record('checks', ctx.checks)
    finish_model(ctx)


def record_result(ctx: PTQContext, before: dict, after: dict, seconds: float) -> dict[str, Any]:
    """Record what the run gave.

    Args:
        ctx (PTQContext): After ``quantize_model``.
        before (dict): Metrics of the float model; empty where it was not evaluated.
        after (dict): Metrics of the quantized model.
        seconds (float): Time of everything between.

    Returns:
        dict: The metrics, sizes in bytes, seconds, number of calibration samples.
    """
    float_bytes, quantized_bytes = model_size(ctx.model)
    result = dict(
        float=before,
        quantized=after,
        float_bytes=float_bytes,
        quantized_bytes=quantized_bytes,
        seconds=seconds,
        num_samples=len(ctx.loader),
    )
    ctx.record('result', result)
    return result


def write_coverage(ctx: PTQContext) -> None:
    """Record how each layer is quantized, or why not, and keep it in ``coverage.json``."""
    rows = coverage_rows(ctx.plan)
    ctx.record('coverage', rows)
    if parallel.is_main():
        write_json(rows, ctx.work_dir / COVERAGE_FILE)


def check_calibrated(ctx: PTQContext) -> None:
    """Raise where a quantizer has no scale yet."""
    for name, layer in quantized_layers(ctx.model).items():
        for slot in (layer.weight_quantizer, layer.input_quantizer):
            if not getattr(slot, 'calibrated', True):
                raise QuantizationError(
                    f"no stage calibrated '{name}': add dict(type='Calibrator') to stages"
                )
    for name, slot in product_quantizers(ctx.model).items():
        if not slot.calibrated:
            raise QuantizationError(
                f"no stage calibrated '{name}': begin stages with a Calibrator, or leave out "
                'quantizer.products'
            )
