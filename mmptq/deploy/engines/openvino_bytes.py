"""Lets a file for OpenVINO take the integers that it would round its input to."""

from typing import Any

import numpy as np

LEVELS = 256


def take_bytes(model: Any) -> tuple[float, int] | None:
    """Give a model an input of uint8 (B, H, W, C) in the place of its float input, in place.

    Args:
        model (openvino.Model): With one input, (B, C, H, W).

    Returns:
        tuple: Scale and zero point of the integers; None where the model does not begin by rounding
        its input to 256 levels, and stays as it is.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    parameter = model.get_parameters()[0]
    rounding = _only_reader(parameter, 'FakeQuantize')
    stored = rounding and _only_reader(rounding, 'Convert')
    if not stored or stored.get_output_element_type(0) != openvino.Type.u8:
        return None
    grid = _grid(rounding, stored)
    if grid is None:
        return None
    integers = openvino.opset8.parameter(
        parameter.get_partial_shape(), openvino.Type.u8, parameter.get_friendly_name()
    )
    integers.output(0).get_tensor().set_names(parameter.output(0).get_tensor().get_names())
    for reader in stored.output(0).get_target_inputs():
        reader.replace_source_output(integers.output(0))
    model.add_parameters([integers])
    model.remove_parameter(parameter)
    layouts = PrePostProcessor(model)
    layouts.input().tensor().set_layout(openvino.Layout('NHWC'))
    layouts.input().model().set_layout(openvino.Layout('NCHW'))
    layouts.build()
    return grid


def _only_reader(node: Any, kind: str) -> Any | None:
    """The only node that takes the output of a node, if it is of that kind."""
    readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
    if len(readers) != 1 or readers[0].get_type_name() != kind:
        return None
    return readers[0]


def _grid(rounding: Any, stored: Any) -> tuple[float, int] | None:
    """Scale and zero point of a FakeQuantize whose outputs are the integers 0 to 255."""
    ends = [_constant(port) for port in rounding.inputs()[1:]]
    if ends[2:] != [0.0, LEVELS - 1.0] or rounding.get_attributes()['levels'] != LEVELS:
        return None
    low, high = ends[:2]
    if low is None or high is None:
        return None
    scale = float(np.float32((high - low) / (LEVELS - 1)))
    # The ends are rounded; the factor that the integers are multiplied by is the scale itself.
    node = stored
    while node is not None and node.get_type_name() in ('Convert', 'Subtract'):
        readers = list(node.output(0).get_target_inputs())
        node = readers[0].get_node() if len(readers) == 1 else None
    exact = None if node is None else next(filter(None, map(_constant, node.inputs())), None)
    if exact is not None and abs(exact / scale - 1) < 1e-5:
        scale = exact
    return scale, round(-low / scale)


def _constant(port: Any) -> float | None:
    """The number at an input of a node, if it is one constant."""
    source = port.get_source_output().get_node()
    if source.get_type_name() != 'Constant' or source.data.size != 1:
        return None
    return float(source.data.reshape(-1)[0])
