"""8-bit outputs of layers with uneven channels, for engines that write them with one scale."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmptq.deploy.export_profile import ExportProfile
from mmptq.deploy.observe import SILU_FLOOR, feeds_silu, values_of
from mmptq.ptq.search.channel_grid import NUM_VALUES, find_grid, sampled_rows
from mmptq.quantization import QScheme
from mmptq.quantization.functional import SMALLEST_SCALE

from .graph import Graph
from .multipliers import PRODUCERS, find_multipliers, insert_even_pair
from .qdq import TensorQParams, is_dequantized


@dataclass
class EvenOutput:
    """How the output of a layer is quantized.

    Attributes:
        factors (np.ndarray): (C,), by which the layer multiplies its output.
        qparams (TensorQParams): Of the products.
    """

    factors: np.ndarray
    qparams: TensorQParams


def outputs_before_multipliers(graph: Graph) -> list[str]:
    """Outputs of the layers in integers whose channels a later multiplier evens out."""
    waiting = [node.input[0] for node in find_multipliers(graph)]
    found: dict[str, None] = {}
    seen: set[str] = set()
    while waiting:
        tensor = waiting.pop()
        producer = graph.producer(tensor)
        if tensor in seen or producer is None or producer.op_type == 'DequantizeLinear':
            continue
        seen.add(tensor)
        if producer.op_type in PRODUCERS:
            if all(is_dequantized(graph, name) for name in producer.input[:2]):
                found[tensor] = None
        else:
            waiting.extend(producer.input)
    return list(found)


def observe_even_outputs(
    graph: Graph, profile: ExportProfile, tensors: list[str], inputs: list[Tensor]
) -> dict[str, EvenOutput]:
    """Factors and scales of layer outputs from calibration data.

    Args:
        graph (Graph): With pairs on layer inputs; not changed.
        profile (ExportProfile): Its ``limits.act`` is the scheme.
        tensors (list[str]): Outputs of layers.
        inputs (list[Tensor]): Calibration inputs of the graph.
    """
    if not tensors:
        return {}
    count = -(-NUM_VALUES // len(inputs))
    rows: dict[str, list[Tensor]] = {name: [] for name in tensors}
    silu_inputs = {name for name in tensors if feeds_silu(graph, name)}
    for values in values_of(graph, tensors, inputs):
        for name in tensors:
            value = values[name].clamp(min=SILU_FLOOR) if name in silu_inputs else values[name]
            rows[name].append(sampled_rows(value, 1, count))
    scheme = QScheme(bits=8, **profile.limits.act)
    return {name: _even(torch.cat(found, 1), scheme) for name, found in rows.items()}


def _even(rows: Tensor, scheme: QScheme) -> EvenOutput:
    grid = find_grid(rows, scheme)
    factors = grid.factors()
    scale = max((grid.steps * factors).max().item(), SMALLEST_SCALE)
    qparams = TensorQParams(scale, grid.zero_point, bool(scheme.signed))
    return EvenOutput(factors.double().numpy(), qparams)


def place_even_outputs(graph: Graph, outputs: dict[str, EvenOutput]) -> int:
    """Quantize these outputs; returns how many could be, the others stay float."""
    return sum(
        insert_even_pair(graph, graph.producer(name), even.factors, even.qparams)
        for name, even in outputs.items()
    )
