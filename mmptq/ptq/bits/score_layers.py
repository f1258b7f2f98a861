"""Measuring how much the outputs change when one layer alone is quantized."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from rich.progress import track
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.search.output_gradients import OutputGradients
from mmptq.ptq.search.output_loss import OutputLoss
from mmptq.quantization import QScheme, QuantizationError, QuantMixin, quantizers_off
from mmptq.quantization.functional import fake_quantize
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import is_sparse

from .layer_scores import LayerScores, between, score_key

OBSERVER = dict(type='LpObserver', p=2.0, num_candidates=24, low=0.3)
# 'gradients': a few backward passes for all layers together; 'forwards': each layer changed, which
# takes a forward per layer, width and sample. Models without gradients take the second.
METHODS = ('gradients', 'forwards')
# The width that is measured. Where the loss is larger than this, errors do not add up any more, so
# the second next width is measured, too.
ANCHOR = 4
LARGE_LOSS = 0.05
# Grids of a layer's tensors that are to be measured: (part, scheme).
Wanted = Mapping[str, Sequence[tuple[str, QScheme]]]


@torch.no_grad()
def score_layers(
    ctx: PTQContext, scores: LayerScores, wanted: Wanted, num_samples: int, method: str
) -> int:
    """Find the losses that the scores lack, and write their file.

    Weights and inputs count apart, each alone: all other tensors are float. Ranges minimise the
    squared error.

    Args:
        ctx (PTQContext): Converted; nothing has to be calibrated.
        scores (LayerScores): Losses are added.
        wanted (Mapping): Grids by layer.
        num_samples (int): Calibration samples, evenly spread.
        method (str): See ``METHODS``.

    Returns:
        int: How many losses were found; without any, the model did not run.
    """
    missing = {
        name: [grid for grid in grids if scores.get(name, score_key(*grid)) is None]
        for name, grids in wanted.items()
    }
    missing = {name: grids for name, grids in missing.items() if grids}
    if not missing:
        return 0
    with quantizers_off(ctx.model):
        observers = _observe_inputs(ctx, missing, num_samples)
        if method == 'forwards' or not _differentiate(ctx, scores, missing, observers, num_samples):
            _measure(ctx, scores, missing, observers, num_samples)
    scores.save(ctx.work_dir)
    return sum(map(len, missing.values()))


def _differentiate(
    ctx: PTQContext, scores: LayerScores, missing: Wanted, observers: dict, num_samples: int
) -> bool:
    """Losses from gradients of the outputs; False where they have none."""
    grids = {
        name: [
            (part, scheme, *_qparams(ctx.layers[name].module, part, scheme, observers.get(name)))
            for part, scheme in some
            if part == 'weight' or observers[name].seen
        ]
        for name, some in missing.items()
    }
    try:
        found = OutputGradients(ctx, num_samples).squared_changes(grids)
    except QuantizationError as error:  # in all processes
        ctx.logger.warning(
            f'losses of layers are measured with forwards, which takes longer, because {error}'
        )
        return False
    for name, some in grids.items():
        keys = [score_key(part, scheme) for part, scheme, *_ in some]
        scores.put(name, dict(zip(keys, found[name], strict=True)))
    return True


def _qparams(layer: QuantMixin, part: str, scheme: QScheme, observer: Any) -> tuple:
    """Scale and zero point of a tensor on a grid."""
    if part == 'weight':
        observer = TASK_UTILS.build(dict(OBSERVER, scheme=scheme))
        observer.update(layer.weight)
    observer.scheme = scheme
    return observer.qparams()


def _measure(
    ctx: PTQContext, scores: LayerScores, missing: Wanted, observers: dict, num_samples: int
) -> None:
    """Losses from forwards with one layer changed.

    Few widths of a layer are measured: 4 bits, and wider ones as long as the loss is large. The
    others follow from the squared error of the tensor, see ``between``.
    """
    with OutputLoss(ctx, num_samples) as loss:
        for name in track(missing, 'score layers', disable=not parallel.is_main()):
            args = ctx, name, missing[name], observers.get(name), loss
            scores.put(name, **kept_piece(ctx, name, partial(_score, *args)))


def kept_piece(ctx: PTQContext, name: str, make: Callable[[], dict]) -> dict:
    """A finished piece of an earlier run that was stopped, or a new one, which is kept.

    Args:
        ctx (PTQContext): With a store, if the run can go on.
        name (str): Of the piece; the store knows the stage.
        make (Callable): Makes it.
    """
    found = ctx.resume and ctx.resume.load(name)
    if not found:
        found = make()
        if ctx.resume:
            ctx.resume.save(name, found)
    return found


def _score(
    ctx: PTQContext,
    name: str,
    grids: Sequence[tuple[str, QScheme]],
    observer: Any,
    loss: Callable[[], Tensor],
) -> dict[str, Any]:
    """Losses of a layer on all grids, and the keys of those that were not measured."""
    layer, losses, estimated = ctx.layers[name].module, {}, []
    for part in ('weight', 'input'):
        schemes = sorted((s for tensor, s in grids if tensor == part), key=lambda s: s.bits)
        if part == 'weight':
            changes = [_weight_change(layer, scheme) for scheme in schemes]
        else:
            changes = [_input_change(layer, scheme, observer) for scheme in schemes]
        keys = [score_key(part, scheme) for scheme in schemes]
        errors = {key: error for key, (_, error) in zip(keys, changes, strict=True)}
        measured: dict[str, float] = {}
        index = min(range(len(keys)), key=lambda i: abs(schemes[i].bits - ANCHOR), default=None)
        while index is not None:
            with changes[index][0]:
                measured[keys[index]] = float(loss().mean())
            large, last = measured[keys[index]] > LARGE_LOSS, index == len(keys) - 1
            index = min(index + 2, len(keys) - 1) if large and not last else None
        if measured:
            losses |= between(errors, measured)
            estimated += [key for key in keys if key not in measured]
    return dict(losses=losses, estimated=estimated)


def _weight_change(layer: QuantMixin, scheme: QScheme) -> tuple[Any, float]:
    """A context in which the weight is on a grid, and the squared error of the weight."""
    rounded = fake_quantize(layer.weight, *_qparams(layer, 'weight', scheme, None), scheme)
    return _other_weight(layer, rounded), float((rounded - layer.weight).square().mean())


@contextmanager
def _other_weight(layer: QuantMixin, weight: Tensor) -> Iterator[None]:
    before = layer.weight.detach().clone()
    layer.weight.copy_(weight)
    try:
        yield
    finally:
        layer.weight.copy_(before)


def _input_change(layer: QuantMixin, scheme: QScheme, observer: Any) -> tuple[Any, float]:
    """A context in which the input is on a grid, and its squared step."""
    if observer is None or not observer.seen:  # the layer never runs on these samples
        return nullcontext(), 0.0
    scale, zero_point = _qparams(layer, 'input', scheme, observer)
    return _other_input(layer, scheme, (scale, zero_point)), float(scale.square().mean())


@contextmanager
def _other_input(layer: QuantMixin, scheme: QScheme, qparams: tuple) -> Iterator[None]:
    before = layer.input_quantizer
    layer.set_quantizer('input', scheme)
    layer.input_quantizer.set_qparams(*qparams)
    try:
        yield
    finally:
        layer.input_quantizer = before


def _observe_inputs(ctx: PTQContext, missing: Wanted, num_samples: int) -> dict[str, Any]:
    """One observer for all grids of a layer's input; one pass over the samples."""
    observers, hooks = {}, {}
    for name, grids in missing.items():
        schemes = [scheme for part, scheme in grids if part == 'input']
        if schemes:
            observers[name] = TASK_UTILS.build(dict(OBSERVER, scheme=schemes[0]))
            hooks[ctx.layers[name].module.input_quantizer] = _hook(observers[name])
    if not observers:
        return {}
    with temporary_hooks(before=hooks):
        for data in ctx.batches('observe inputs', num_samples):
            ctx.predict(data)
    found = list(observers.values())
    for states in parallel.from_others(lambda: [observer.state() for observer in found]):
        for observer, state in zip(found, states, strict=True):
            observer.merge([state])
    return observers


def _hook(observer: Any) -> Callable[[nn.Module, tuple], None]:
    def hook(module: nn.Module, args: tuple) -> None:
        x = args[0]
        observer.update(x.features if is_sparse(x) else x)

    return hook


def with_bits(scheme: QScheme, bits: int, needed: Mapping[str, Any]) -> QScheme:
    """The scheme of a weight or input with another width.

    Below 8 bits a weight gets a zero point per channel, which saves a quarter of the step of a
    lopsided channel and is as cheap: engines store such weights as 8-bit integers around it.

    Args:
        scheme (QScheme): The planned one.
        bits (int): The width.
        needed (Mapping): Fields that a backend needs of 8-bit weights.
    """
    if bits == scheme.bits:
        return scheme
    if bits < 8 <= scheme.bits:
        return replace(scheme, bits=bits, symmetric=False, signed=False, narrow=False)
    return replace(scheme, bits=bits, **(needed if bits >= 8 else {}))
