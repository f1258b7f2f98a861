"""Which version of the ONNX operators a file needs."""

import onnx
from torch import nn

from mmptq.quantization import QuantizationError

LOWEST = 13  # the first with scales per channel
HIGHEST = 20  # the last that torch's exporter writes
DEFORMABLE = 19
# Versions that brought operators of networks; others are not tried.
STEPS = (13, 14, 16, 17, 18, DEFORMABLE, HIGHEST)
FLOAT16_SCALES = 19
LAYER_NORM = 17


def needed_opset(subgraph: nn.Module, lowest: int = LOWEST) -> tuple[int, str]:
    """The lowest opset that is known before the export, and what asks for it.

    Args:
        subgraph (nn.Module): What is exported.
        lowest (int): What the backend asks for.
    """
    reasons = {LOWEST: 'a scale per channel', lowest: 'this backend'}
    kinds = {base.__name__ for m in subgraph.modules() for base in type(m).__mro__}
    if any('DeformConv2d' in kind for kind in kinds):
        reasons[DEFORMABLE] = 'DeformConv'
    if 'LayerNorm' in kinds:
        # An older file has a layer norm too, in seven pieces that not every engine fuses.
        reasons[LAYER_NORM] = 'LayerNormalization'
    return max(reasons.items())


def check_opset(opset: int, needed: int = LOWEST, reason: str = '') -> None:
    """Raise where a chosen opset cannot hold the graph."""
    if not LOWEST <= opset <= HIGHEST:
        raise QuantizationError(f'--opset {opset}: use a number from {LOWEST} to {HIGHEST}')
    if opset < needed:
        raise QuantizationError(
            f'--opset {opset}: {reason} needs {needed} at least; leave the option out for the '
            'lowest one that works'
        )


def later_opset(model: onnx.ModelProto, opset: int, domain: str) -> int | None:
    """The next opset to try, where a graph holds an operator that its own has not.

    Args:
        model (onnx.ModelProto): Fresh from the exporter.
        opset (int): Its opset.
        domain (str): A domain of nodes that are not meant to stay.

    Returns:
        int: None where the graph is complete, or there is no later one.
    """
    unknown = {node.op_type for node in model.graph.node if node.domain not in ('', domain)}
    if not unknown:
        return None
    if any('DeformConv' in kind for kind in unknown):
        return DEFORMABLE if opset < DEFORMABLE else None
    return next((step for step in STEPS if step > opset), None)
