"""What is compared of the outputs of a model: its head outputs, or those of its last layers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.adapters import Adapter, HeadOutput, build_adapter
from mmptq.ptq.context import PTQContext
from mmptq.ptq.inputs.model_inputs import is_detector
from mmptq.quantization import QuantizationError
from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.layers import QUANT_LAYERS
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import is_sparse, tensors_in

SCORES, BOXES, VALUES = 'scores', 'boxes', 'values'
# A regression that is in the scores already, as a factor.
IN_SCORES = 'quality'
# CenterPoint has a head per task, which count together: 'bbox_head.task0' and 'bbox_head.task1'.
NUMBER = re.compile(r'\d+$')

Reader = Callable[[Any], list['OutputPart']]


@dataclass
class OutputPart:
    """One quantity of the outputs on one sample.

    Attributes:
        name (str): Parts of one name are one quantity.
        kind (str): 'scores' (probabilities), 'boxes' (corners in the image), or 'values'.
        values (Tensor): (P, D) at P positions.
        confidence (Tensor, optional): (P,) probability of the best class at each position; None
            where the model has no known scores. Defaults to None.
    """

    name: str
    kind: str
    values: Tensor
    confidence: Tensor | None = None


def head_reader(ctx: PTQContext) -> Reader | None:
    """Reads the head outputs of a detector; None where no adapter knows it."""
    try:
        adapter = build_adapter(ctx.model)
    except QuantizationError:
        return None
    return partial(_read_heads, adapter)


def layer_reader(ctx: PTQContext) -> Reader:
    """Reads what no further layer reads: outputs of the last layers, or what the model returns.

    A detector returns what its post-processing chose, which differs from run to run of different
    models; the outputs of its last layers do not.
    """
    if not is_detector(ctx.model):
        return partial(_read_result, ctx)
    sample = ctx.first_batch()
    trace = trace_layers(ctx.model, tuple(QUANT_LAYERS), lambda: ctx.predict(sample))
    last = [name for name, layer in trace.layers.items() if not layer.feeds_layer]
    return partial(_read_layers, ctx, {ctx.model.get_submodule(name): name for name in last})


def _read_heads(adapter: Adapter, data: Any) -> list[OutputPart]:
    outputs = adapter.outputs(adapter.raw_outputs(data))
    return [part for output in outputs for part in _parts_of(output)]


def _parts_of(output: HeadOutput) -> list[OutputPart]:
    name = NUMBER.sub('', output.name)
    scores = output.probabilities().flatten(0, 1)
    confidence = scores.amax(-1)
    parts = [OutputPart(f'{name}.scores', SCORES, scores, confidence)]
    if output.boxes is not None:
        boxes = output.boxes.flatten(0, 1)
        return [*parts, OutputPart(f'{name}.boxes', BOXES, boxes, confidence)]
    regs = {key: reg for key, reg in output.regs.items() if key != IN_SCORES}
    return parts + [
        OutputPart(f'{name}.{key}', VALUES, reg.flatten(0, 1), confidence)
        for key, reg in regs.items()
    ]


def _read_result(ctx: PTQContext, data: Any) -> list[OutputPart]:
    tensors = [x for x in tensors_in(ctx.predict(data)) if x.is_floating_point()]
    return [OutputPart(f'output {i}', VALUES, _rows(x)) for i, x in enumerate(tensors)]


def _read_layers(ctx: PTQContext, layers: dict[nn.Module, str], data: Any) -> list[OutputPart]:
    parts: list[OutputPart] = []

    def keep(layer: nn.Module, args: tuple, output: Any) -> None:
        output = output.features if is_sparse(output) else output
        if isinstance(output, Tensor) and output.is_floating_point():
            parts.append(OutputPart(layers[layer], VALUES, _rows(output).clone()))

    with temporary_hooks(after=dict.fromkeys(layers, keep)):
        ctx.predict(data)
    return parts


def _rows(x: Tensor) -> Tensor:
    """A tensor as (P, C): maps (B, C, H, W) and volumes by axis 1, all others by the last one."""
    if x.dim() < 2:
        return x.detach().reshape(-1, 1)
    return x.detach().movedim(1 if x.dim() > 3 else -1, -1).flatten(0, -2)


@torch.no_grad()
def read(reader: Reader, data: Any) -> list[OutputPart]:
    """The parts of a sample without gradients, in float32 and with numbers only."""
    parts = reader(data)
    for part in parts:
        part.values = part.values.float().nan_to_num(0.0, 0.0, 0.0)
    return parts
