"""Inference engines behind one interface: a file in, arrays out, and what ran in integers."""

import functools
import json
import os
import tempfile
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mmptq.quantization import QuantizationError

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
OPENVINO_LAYERS = ('Convolution', 'Deconvolution', 'FullyConnected', 'MatMul')
ENGINES = ('onnxruntime', 'openvino', 'tensorrt', 'simulation')
INSTALL = {
    'onnx': 'pip install onnx',
    'onnxruntime': 'pip install onnxruntime',
    'openvino': 'pip install openvino',
    'tensorrt': 'pip install onnxruntime-gpu tensorrt',
}


def require_engine(name: str) -> Any:
    """Import an engine.

    Raises:
        QuantizationError: If it is not installed; says how to install it.
    """
    package = 'onnxruntime' if name in ('tensorrt', 'simulation') else name
    try:
        module = import_module(package)
    except ImportError as error:
        raise QuantizationError(
            f"'{name}' is not installed ({error}): run `{INSTALL[package]}`, or "
            '`pip install mmptq[deploy]` for all engines'
        ) from error
    if name == 'tensorrt' and 'TensorrtExecutionProvider' not in module.get_available_providers():
        raise QuantizationError(
            "'tensorrt' is not installed: run `pip install onnxruntime-gpu tensorrt` on a machine "
            'with a GPU'
        )
    return module


class Engine(ABC):
    """A loaded file.

    Attributes:
        metadata (dict[str, Any]): What ``tools/export.py`` wrote into the file.
        output_names (list[str]): Of the file.
        input_shape (tuple[int | str, ...]): Of the file; a string where a dimension is open.
    """

    metadata: dict[str, Any]
    input_shape: tuple[int | str, ...]
    output_names: list[str]

    @abstractmethod
    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """Outputs for one input, (B, C, H, W) float32."""

    @abstractmethod
    def count_layers(self) -> tuple[int, int]:
        """Weighted layers that run in integers, and in float, by the engine's own account."""


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the CPU, or with TensorRT inside.

    Args:
        path (str | Path): The ``.onnx`` file.
        threads (int): Threads inside of an operator; 0 leaves it to the engine.
        provider (str): Execution provider.
        optimize (bool): Whether graphs are optimised. Without that each QuantizeLinear and
            DequantizeLinear is carried out in float, which is the exact simulation of a file.
        size (tuple[int, int], optional): Height and width, if they are open in the file.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int = 0,
        provider: str = 'CPUExecutionProvider',
        optimize: bool = True,
        size: tuple[int, int] | None = None,
    ):
        runtime = require_engine('onnxruntime')
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        for name, value in zip(('batch', 'height', 'width'), (1, *(size or ())), strict=False):
            if size is not None:
                options.add_free_dimension_override_by_name(name, value)
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = [provider, 'CPUExecutionProvider']
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


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU; what is not quantized runs in float32, also where bfloat16 is there.

    Args:
        path (str | Path): An ``.onnx`` or ``.xml`` file.
        threads (int): Threads of an inference; 0 leaves it to the engine.
        size (tuple[int, int], optional): Height and width, if they are open in the file.
    """

    def __init__(self, path: str | Path, threads: int = 0, size: tuple[int, int] | None = None):
        config = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY'}
        if threads:
            config.update(INFERENCE_NUM_THREADS=threads, NUM_STREAMS=1)
        try:
            core = openvino_core()
            model = core.read_model(path)
            if size is not None:
                channels = model.inputs[0].partial_shape[1].get_length()
                model.reshape([1, channels, *size])
            self.compiled = core.compile_model(model, 'CPU', config)
        except RuntimeError as error:
            raise unreadable(path, error) from error
        self.input_shape = tuple(
            str(end) if end.is_dynamic else end.get_length()
            for end in self.compiled.inputs[0].partial_shape
        )
        self._request = self.compiled.create_infer_request()
        self.output_names = [port.get_any_name() for port in self.compiled.outputs]
        self.metadata = read_openvino_metadata(model, path)

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        results = self._request.infer({0: x})
        # The engine reuses its memory on the next call.
        return [np.array(results[port]) for port in self.compiled.outputs]

    def count_layers(self) -> tuple[int, int]:
        integer = total = 0
        for node in self.compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if str(info['layerType'].value) in OPENVINO_LAYERS:
                total += 1
                integer += str(info['runtimePrecision'].value) in ('u8', 'i8')
        return integer, total - integer


@functools.cache
def openvino_core() -> Any:
    """The one core of the process.

    Each core that loads the CPU plugin swaps the thread's alternate signal stack and puts back what
    it found. With several of them, released in any other order than the reverse, what is put back
    is memory that was given back already, and the next signal ends the process.
    """
    return require_engine('openvino').Core()


def open_engine(
    name: str, path: str | Path, threads: int = 0, size: tuple[int, int] | None = None
) -> Engine:
    """Load a file into the engine of this name.

    Args:
        name (str): ``onnxruntime``, ``openvino``, ``tensorrt``, or ``simulation`` for float
            arithmetic on rounded numbers.
        path (str | Path): The file.
        threads (int): 0 leaves it to the engine.
        size (tuple[int, int], optional): Fixes an open height and width.
    """
    if name not in ENGINES:
        raise QuantizationError(f"there is no engine '{name}': use one of {', '.join(ENGINES)}")
    require_engine(name)
    if not Path(path).is_file():
        raise QuantizationError(f"file '{path}' does not exist: check the path")
    if name == 'openvino':
        return OpenVinoEngine(path, threads, size)
    if name == 'tensorrt':
        return OnnxRuntimeEngine(path, threads, 'TensorrtExecutionProvider', size=size)
    return OnnxRuntimeEngine(path, threads, optimize=name == 'onnxruntime', size=size)


def count_onnx_layers(path: str) -> tuple[int, int]:
    """Integer and float layers with a stored weight, of a graph that ONNX Runtime optimised."""
    graph = require_engine('onnx').load(path).graph
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


def parse_metadata(entries: dict[str, str]) -> dict[str, Any]:
    """Metadata of a file, each value of which is JSON."""
    return {key: json.loads(value) for key, value in entries.items() if key != 'onnx.infer'}


def read_openvino_metadata(model: Any, path: str | Path) -> dict[str, Any]:
    """Metadata from the runtime information of an ``.xml`` file, or from an ``.onnx`` file."""
    if str(path).endswith('.onnx'):
        entries = require_engine('onnx').load(path, load_external_data=False).metadata_props
        return parse_metadata({entry.key: entry.value for entry in entries})
    if not model.has_rt_info(['mmptq']):
        return {}
    return parse_metadata(json.loads(model.get_rt_info(['mmptq']).value))


def unreadable(path: str | Path, error: Exception) -> QuantizationError:
    """The sentence for a file that an engine refuses."""
    reason = ' '.join(str(error).split())[:300]
    return QuantizationError(
        f"'{path}' cannot be loaded ({reason}): export it again with tools/export.py"
    )
