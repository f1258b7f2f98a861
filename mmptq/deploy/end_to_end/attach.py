"""The decoding of a head at the end of a file."""

import io
import warnings
from contextlib import redirect_stdout

import onnx
import torch
from torch import Tensor

from mmptq.quantization import QuantizationError
from mmptq.utils.messages import first_line

from .decoding import OUTPUTS, DenseDecoding

PREFIX = 'decoding/'
IMAGE = 'image'


@torch.no_grad()
def attach_decoding(
    model: onnx.ModelProto,
    decoding: DenseDecoding,
    image: Tensor,
    outputs: tuple[Tensor, ...],
    open_axes: dict[int, str],
) -> None:
    """Let a file of head outputs give boxes, scores and labels, in place.

    Args:
        model (onnx.ModelProto): With one input and the flat head outputs.
        decoding (DenseDecoding): Of its head.
        image (Tensor): An input, (B, C, H, W).
        outputs (tuple[Tensor]): The head outputs of that input.
        open_axes (dict[int, str]): Names of the axes of the input that are left open.
    """
    (opset,) = (entry.version for entry in model.opset_import if not entry.domain)
    names = [entry.name for entry in model.graph.output]
    last = _export(decoding, (image, *outputs), [IMAGE, *names], open_axes, opset)
    outer = {name: name for name in (*names, *OUTPUTS, '')}
    outer[IMAGE] = model.graph.input[0].name

    def renamed(name: str) -> str:
        return outer.get(name, PREFIX + name)

    for node in last.graph.node:
        node.name = PREFIX + node.name.strip('/')
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
    for tensor in last.graph.initializer:
        tensor.name = renamed(tensor.name)
    model.graph.node.extend(last.graph.node)
    model.graph.initializer.extend(last.graph.initializer)
    del model.graph.output[:]
    model.graph.output.extend(last.graph.output)


def _export(
    decoding: DenseDecoding,
    inputs: tuple[Tensor, ...],
    names: list[str],
    open_axes: dict[int, str],
    opset: int,
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    axes = {name: {axis: f'{name}_{part}' for axis, part in open_axes.items()} for name in names}
    axes.update({name: {0: open_axes[0]} for name in OUTPUTS if 0 in open_axes})
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                decoding.eval(),
                inputs,
                buffer,
                dynamo=False,
                opset_version=opset,
                input_names=names,
                output_names=list(OUTPUTS),
                dynamic_axes=axes,
            )
        except Exception as error:  # of many types, from Python and C++
            raise QuantizationError(
                f'--end-to-end: torch cannot export the decoding of '
                f'{type(decoding.head).__name__} ({first_line(error)}): leave out --end-to-end'
            ) from error
    return onnx.load_from_string(buffer.getvalue())
