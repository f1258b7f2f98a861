"""From the subgraph of a quantized detector to an ONNX graph that marks its quantizers."""

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import onnx
import torch
from torch import Tensor, nn

from mmptq.ptq.teacher.fixed_parameters import fixed_parameters
from mmptq.quantization import FakeQuantizer, QuantizationError
from mmptq.utils.hooks import replaced_forwards

from .exported_subgraph import ExportedSubgraph, output_names
from .exporter_error import exporter_error
from .opset import DEFORMABLE, HIGHEST, LOWEST, check_opset, later_opset, needed_opset
from .traced_calls import exportable_calls

DOMAIN = 'mmptq'
MARKER = 'Quantizer'
INPUT_NAME = 'input'


class _Mark(torch.autograd.Function):
    """Does nothing; in the exported graph it is a node with the name of the quantizer."""

    @staticmethod
    def forward(ctx, x: Tensor, name: str) -> Tensor:
        return x.clone()

    @staticmethod
    def symbolic(g, x, name: str):
        # Without the type the exporter would not know the rank of the weight of a convolution.
        return g.op(f'{DOMAIN}::{MARKER}', x, name_s=name).setType(x.type())


@contextmanager
def marked(model: nn.Module) -> Iterator[dict[str, FakeQuantizer]]:
    """Within this context each quantizer only leaves its mark; yields the quantizers by name."""
    quantizers = {
        name: module for name, module in model.named_modules() if isinstance(module, FakeQuantizer)
    }
    marks = {
        quantizer: lambda x, name=name: _Mark.apply(x, name)
        for name, quantizer in quantizers.items()
    }
    with replaced_forwards(marks):
        yield quantizers


@torch.no_grad()
def export_marked(
    subgraph: ExportedSubgraph,
    sample: Tensor,
    dynamic: bool,
    unsupported: tuple[str, ...] = (),
    opset: int | None = None,
    lowest: int = LOWEST,
    open_batch: bool | None = None,
) -> onnx.ModelProto:
    """Export the subgraph with markers in the place of its quantizers.

    Args:
        subgraph (ExportedSubgraph): In eval mode, quantized and frozen.
        sample (Tensor): An input, (B, C, H, W).
        dynamic (bool): Whether height and width of the file are left open.
        unsupported (tuple[str]): Operators that the engine cannot run.
        opset (int, optional): Version of the operators. Defaults to the lowest that the graph
            needs.
        lowest (int): The first opset that the backend takes.
        open_batch (bool, optional): Whether the number of images is left open. Defaults to None:
            as ``dynamic``.

    Returns:
        onnx.ModelProto: Nodes ``mmptq::Quantizer`` with the attribute ``name``; the metadata
        ``structure`` tells how the outputs nest.

    Raises:
        QuantizationError: For an operator that is not part of ONNX; names it and its module.
    """
    subgraph(sample)
    needed, reason = needed_opset(subgraph, lowest)
    if opset is not None:
        check_opset(opset, needed, reason)
    version = opset or needed
    axes = open_axes(dynamic, dynamic if open_batch is None else open_batch)
    while True:
        model = _export(subgraph, sample, axes, version)
        later = None if opset is not None else later_opset(model, version, DOMAIN)
        if later is None:
            break
        version = later
    standardize_deform_convs(model)
    if any(node.op_type == 'DeformConv' for node in model.graph.node):
        check_opset(version, DEFORMABLE, 'DeformConv')  # a function that no module told of
    check_operators(model, unsupported, opset)
    entry = model.metadata_props.add()
    entry.key, entry.value = 'structure', json.dumps(subgraph.structure)
    return model


def open_axes(size: bool, batch: bool) -> dict[int, str]:
    """Names of the axes of the input that a file leaves open."""
    axes = {0: 'batch'} if batch else {}
    return {**axes, 2: 'height', 3: 'width'} if size else axes


def _export(
    subgraph: ExportedSubgraph, sample: Tensor, axes: dict[int, str], opset: int
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    calls = exportable_calls(subgraph)
    with (
        calls,
        marked(subgraph),
        fixed_parameters(subgraph),
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                subgraph,
                (sample,),
                buffer,
                # The newer exporter renames and decomposes the nodes around the markers.
                dynamo=False,
                opset_version=opset,
                custom_opsets={DOMAIN: 1},
                input_names=[INPUT_NAME],
                output_names=output_names(subgraph.structure),
                dynamic_axes={INPUT_NAME: axes} if axes else None,
                # In eval mode the exporter would fold BatchNorms into weights on their grid.
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=True,
                operator_export_type=torch.onnx.OperatorExportTypes.ONNX_FALLTHROUGH,
            )
        except Exception as error:  # of many types, from Python and C++
            raise exporter_error(error, subgraph, sample) from error
    return onnx.load_from_string(buffer.getvalue())


def standardize_deform_convs(model: onnx.ModelProto) -> None:
    """Turn mmcv's own operators for deformable convolutions into the one of ONNX, in place."""
    for node in model.graph.node:
        # mmcv gives input, offset, (mask,) weight, (bias); ONNX takes X, W, offset, bias, mask.
        if node.op_type == 'MMCVModulatedDeformConv2d':
            x, offset, mask, weight, *bias = node.input
            inputs = [x, weight, offset, *(bias or ['']), mask]
        elif node.op_type == 'MMCVDeformConv2d':
            x, offset, weight = node.input
            inputs = [x, weight, offset]
        else:
            continue
        values = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        padding = _pair(values['padding'])
        standard = onnx.helper.make_node(
            'DeformConv',
            inputs,
            node.output,
            name=node.name,
            strides=_pair(values['stride']),
            pads=[*padding, *padding],
            dilations=_pair(values['dilation']),
            group=values['groups'],
            offset_group=values['deform_groups'],
        )
        node.CopyFrom(standard)


def _pair(value: int | list[int]) -> list[int]:
    """Sizes along both axes; code that calls mmcv's function itself may give one for both."""
    return [value, value] if isinstance(value, int) else list(value)


def check_operators(
    model: onnx.ModelProto, unsupported: tuple[str, ...] = (), opset: int | None = None
) -> None:
    """Raise where the graph holds an operator that no engine, or this one, can run.

    Args:
        model (onnx.ModelProto): Fresh from the exporter, whose node names tell the module.
        unsupported (tuple[str]): Operators that the engine cannot run.
        opset (int, optional): The version that was asked for; a later one may have the operator.
    """
    for node in model.graph.node:
        unknown = node.domain not in ('', DOMAIN)
        if not unknown and node.op_type not in unsupported:
            continue
        *scope, _ = node.name.strip('/').split('/')
        place = f"'{node.op_type}' of '{'/'.join(scope)}'"
        if unknown and opset is not None and opset < HIGHEST:
            raise QuantizationError(
                f'--opset {opset}: ONNX of this version has no operator {place}: leave the option '
                'out for the lowest one that works'
            )
        problem = 'is not part of ONNX' if unknown else 'is not supported by this engine'
        raise QuantizationError(
            f'the operator {place} {problem}: replace that module in the model config, or choose '
            'another backend'
        )
