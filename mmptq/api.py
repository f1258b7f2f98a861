"""Quantizing any model without a Runner or a config file."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmptq.engine.auto_config import keep_what_was_asked
from mmptq.engine.budget_options import with_allocation
from mmptq.engine.checkpoint import save_quantized
from mmptq.engine.config_types import check_types
from mmptq.engine.load_weights import load_quantized
from mmptq.engine.ptq_loop import CHECKPOINT_NAME
from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.batch_store import FORMS, BatchStore
from mmptq.ptq.inputs.model_inputs import run_model
from mmptq.ptq.launch import alone_in, one_sentence
from mmptq.ptq.run import plan_model, quantize_model, record_result
from mmptq.ptq.stages.recipe import build_stages, check_adapter, check_stages
from mmptq.quantization import QuantizationError
from mmptq.quantization.limits import SchemeLimits
from mmptq.report import coverage_text, lane_report
from mmptq.utils.config_files import base_config
from mmptq.utils.messages import first_line
from mmptq.utils.models import unwrap
from mmptq.utils.trees import tensors_in

Config = dict[str, Any]


def quantize(
    model: nn.Module,
    batches: Iterable[Any],
    scheme: str | Config = 'auto',
    recipe: str | Config | list[Any] = 'auto',
    work_dir: str | Path | None = None,
    backend: str | Config | None = None,
    seed: int = 0,
    average_bits: float | None = None,
) -> nn.Module:
    """Quantize a float model in place.

    In a group of ``torch.distributed`` every process calls it with the same model and the same
    batches; each works on a part of them, and all end with the same quantized model.

    Args:
        model (nn.Module): Any module; it is changed, and set to eval mode. After an error in a
            stage it is of no more use; errors before that leave its weights alone.
        batches (Iterable): Calibration batches: a list, a data loader, a generator. Each is what
            the model's forward takes: a tensor, a tuple or list (positional arguments), or a dict
            (keyword arguments); for a detector of OpenMMLab the dict that its data loader
            yields, with ``inputs`` and ``data_samples``.
        scheme (str | dict): Name of a scheme of ``configs/_base_/schemes``, or a quantizer config
            (see ``mmptq.quantization.placement.place``). Defaults to 'auto', which is 'int8'.
        recipe (str | dict | list): Name of a recipe of ``configs/_base_/recipes``, or configs of
            stages. Defaults to 'auto': it finds out what the model needs.
        work_dir (str | Path, optional): Gets ``quantized.pth``, ``coverage.json`` and
            ``run.json``; without it nothing is left on the disk. Defaults to None.
        backend (str | dict, optional): What the scheme is fitted to: name of a backend of
            ``configs/_base_/backends``, or its config. Defaults to None.
        seed (int): Of every random choice. Defaults to 0.
        average_bits (float, optional): Mean width of weights: each layer gets 2 to 8 bits so that
            the outputs change least, see ``BitAllocation``. Defaults to None: those of the scheme.

    Returns:
        nn.Module: The same object.

    Raises:
        QuantizationError: If anything does not fit; the message says what to change.

    Example:
        >>> import mmptq
        >>> batches = [images for images, labels in loader]
        >>> model = mmptq.quantize(model, batches, work_dir='work')
    """
    model = _float_model(model)
    quantizer, limits = _quantizer(scheme, backend)
    stages = build_stages(_stages(recipe, average_bits))
    check_adapter(stages, model)
    with (
        one_sentence(),
        _folder(work_dir) as folder,
        BatchStore(batches, model, folder / 'batches') as store,
    ):
        _check_same(store)
        ctx = PTQContext(model.eval(), store, folder, seed, limits=limits)
        _run(ctx, quantizer, stages)
        if work_dir is not None and parallel.is_main():
            _save(ctx)
    return model


def load(model: nn.Module, path: str | Path) -> nn.Module:
    """Turn a freshly built float model into the quantized one that was saved.

    Args:
        model (nn.Module): Of the same architecture as the one that was quantized; it is changed.
        path (str | Path): ``quantized.pth``.

    Returns:
        nn.Module: The same object, in eval mode.

    Raises:
        QuantizationError: If the file cannot be read, or is of another architecture.

    Example:
        >>> model = mmptq.load(Net(), 'work/quantized.pth')
    """
    return load_quantized(model, path)


def _float_model(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise QuantizationError(f'model is a {type(model).__name__}: give an nn.Module')
    return unwrap(model)


def _quantizer(
    scheme: str | Config, backend: str | Config | None
) -> tuple[Config, SchemeLimits | None]:
    """The scheme as a config, fitted to the backend, and the limits of this."""
    quantizer = _named('scheme', 'int8' if scheme == 'auto' else scheme, 'quantizer')
    check_types(dict(quantizer=quantizer))
    if backend is None:
        return quantizer, None
    limits = SchemeLimits.from_config(_named('backend', backend, 'backend'))
    return limits.constrain(quantizer), limits


def _stages(recipe: str | Config | list[Any], average_bits: float | None) -> list[Any]:
    """The recipe as a list of stages, with one that allocates bits where these are given."""
    stages = _named('recipe', recipe, 'stages')
    stages = [stages] if isinstance(stages, dict) else stages
    check_types(dict(stages=stages))
    if average_bits is not None:
        stages = [dict(stage) if isinstance(stage, dict) else stage for stage in stages]
        stages = with_allocation(stages, dict(type='BitAllocation', average_bits=average_bits))
        keep_what_was_asked([stage for stage in stages if isinstance(stage, dict)])
    return stages


def _check_same(batches: BatchStore) -> None:
    """Refuse batches that were dealt out already, of which only a part would count."""
    parallel.check_same(
        [len(batches), list(tensors_in(batches[0]))],
        'batches',
        'pass the same ones in the same order in every process, without a DistributedSampler and '
        'not shuffled; each process takes its part of them',
    )


def _run(ctx: PTQContext, quantizer: Config, stages: list[Any]) -> None:
    try:
        with torch.no_grad():
            run_model(ctx.model, ctx.first_batch())
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of any model
        fix = f'give {FORMS}' if isinstance(error, TypeError) else 'give one that it can run'
        raise QuantizationError(
            f'the model cannot run the first batch ({first_line(error)}): {fix}'
        ) from error
    start = time.perf_counter()
    plan_model(ctx, quantizer)
    ctx.logger.info(coverage_text(ctx.plan))
    check_stages(stages, ctx)
    with lane_report(ctx):
        quantize_model(ctx, stages)
    record_result(ctx, {}, {}, time.perf_counter() - start)


def _save(ctx: PTQContext) -> None:
    path = ctx.work_dir / CHECKPOINT_NAME
    config = getattr(getattr(ctx.model, 'cfg', None), 'pretty_text', '')
    meta = getattr(ctx.model, 'dataset_meta', None) or {}
    save_quantized(ctx.model, ctx.plan, path, meta, config)
    MMLogger.get_current_instance().info(f'quantized checkpoint: {path}')


def _named(kind: str, value: Any, key: str) -> Any:
    """A part of ``configs/_base_`` by its name, or the config that was given."""
    if value is None:
        raise QuantizationError(f'{kind} is None: give a name, or a config')
    if not isinstance(value, str):
        return value
    try:
        return base_config(kind, value)[key]
    except FileNotFoundError as error:
        raise QuantizationError(str(error)) from error


@contextmanager
def _folder(work_dir: str | Path | None) -> Iterator[Path]:
    """The work directory, or one that is gone at the end."""
    if work_dir is not None:
        with alone_in(work_dir):
            yield Path(work_dir)
        return
    with tempfile.TemporaryDirectory(prefix='mmptq_') as folder:
        yield Path(folder)
