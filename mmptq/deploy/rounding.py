"""How far rounding alone moves the outputs of a file: the yardstick for an engine's error."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mmptq.deploy.engines import SimulationEngine

# What float32 leaves open in a convolution and the scaling of its result.
RELATIVE = 1e-6


def nudged(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with weight scales that differ by one part in a million, up or down.

    That is about how far two correct kernels are apart before they round. Where a value lies
    between two levels, it falls to the other one, and later layers carry that on.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    scales = {
        node.input[1]
        for node in copy.graph.node
        if node.op_type == 'DequantizeLinear' and node.input[0] in stored
    }
    for name in sorted(scales & stored.keys()):
        scale = numpy_helper.to_array(stored[name])
        signs = np.where(np.arange(scale.size) % 2, 1, -1).reshape(scale.shape)
        changed = (scale * (1 + RELATIVE * signs)).astype(scale.dtype)
        stored[name].CopyFrom(numpy_helper.from_array(changed, name))
    return copy


def open_nudged(file: Path) -> SimulationEngine:
    """A file in float arithmetic, with weight scales that differ by one part in a million."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'nudged.onnx')
        onnx.save(nudged(onnx.load(file)), path)
        return SimulationEngine(path)
