"""ONNX Runtime."""

import os
import tempfile
from pathlib import Path

import numpy as np

from .engine import Engine, parse_metadata, unreadable
from .packages import require_package
from .registry import ENGINES

INTEGER_NODES = ('QLinearConv', 'QGemm', 'QLinearMatMul', 'MatMulIntegerToFloat', 'ConvInteger')
FLOAT_NODES = (
    'Conv',
    'FusedConv',
    'ConvTranspose',
    'Gemm',
    'FusedGemm',
    'MatMul',
    'FusedMatMul',
    'DeformConv',
)


@ENGINES.register_module('onnxruntime')
class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU.

    Args:
        path (str | Path): The ``.onnx`` file.
        threads (int): Threads inside of an operator; 0 leaves it to the engine.
        size (tuple[int, int], optional): Height and width, if they are open in the file.

    Attributes:
        provider (str): Execution provider.
        optimize (bool): Whether graphs are optimised.
    """

    package = 'onnxruntime'
    provider = 'CPUExecutionProvider'
    optimize = True

    def __init__(self, path: str | Path, threads: int = 0, size: tuple[int, int] | None = None):
        runtime = self.require()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        for name, value in zip(('batch', 'height', 'width'), (1, *(size or ())), strict=False):
            if size is not None:
                options.add_free_dimension_override_by_name(name, value)
        if not self.optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = [self.provider, 'CPUExecutionProvider']
        with tempfile.TemporaryDirectory() as folder:
            optimized = os.path.join(folder, 'optimized.onnx')
            options.optimized_model_filepath = optimized
            try:
                self.session = runtime.InferenceSession(
                    str(path), options, providers=list(dict.fromkeys(providers))
                )
            except Exception as error:
                raise unreadable(path, error) from error
            self._count = count_onnx_layers(optimized)
        (entry,) = self.session.get_inputs()
        self._input, self.input_shape = entry.name, tuple(entry.shape)
        self.output_names = [entry.name for entry in self.session.get_outputs()]
        self.metadata = parse_metadata(self.session.get_modelmeta().custom_metadata_map)

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, {self._input: x})

    def count_layers(self) -> tuple[int, int]:
        return self._count


def count_onnx_layers(path: str) -> tuple[int, int]:
    """Integer and float layers with a stored weight, of a graph that ONNX Runtime optimised."""
    graph = require_package('onnx').load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    # A weight that a float layer takes may be dequantized while the network runs.
    stored.update(
        node.output[0]
        for node in graph.node
        if node.op_type == 'DequantizeLinear' and node.input[0] in stored
    )
    kinds = [node.op_type for node in graph.node if any(name in stored for name in node.input[1:])]
    return (
        sum(kind in INTEGER_NODES for kind in kinds),
        sum(kind in FLOAT_NODES for kind in kinds),
    )
