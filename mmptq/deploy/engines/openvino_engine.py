"""OpenVINO."""

import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mmptq.utils.files import complete_file

from .engine import Engine, parse_metadata, unreadable
from .openvino_bytes import take_bytes
from .packages import require_package
from .registry import ENGINES

LAYERS = ('Convolution', 'Deconvolution', 'FullyConnected', 'MatMul')
RT_INFO_KEY = 'mmptq'


@ENGINES.register_module('openvino')
class OpenVinoEngine(Engine):
    """OpenVINO on the CPU; float layers run in float32, also on processors with bfloat16.

    Args:
        path (str | Path): An ``.onnx`` or ``.xml`` file.
        threads (int): Threads of an inference; 0 leaves it to the engine.
        size (tuple[int, int], optional): Height and width, if they are open in the file.
    """

    package = 'openvino'
    suffixes = ('.onnx', '.xml')

    def __init__(self, path: str | Path, threads: int = 0, size: tuple[int, int] | None = None):
        self._config = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY'}
        if threads:
            self._config.update(INFERENCE_NUM_THREADS=threads, NUM_STREAMS=1)
        self._source = path, size
        try:
            self._compile(self._read())
        except RuntimeError as error:
            raise unreadable(path, error) from error
        self.input_shape = tuple(
            str(end) if end.is_dynamic else end.get_length()
            for end in self.compiled.inputs[0].partial_shape
        )
        self.output_names = [output_name(port.get_names()) for port in self.compiled.outputs]
        self.metadata = self.read_metadata(path)

    def _read(self) -> Any:
        path, size = self._source
        model = openvino_core().read_model(path)
        if size is not None:
            channels = model.inputs[0].partial_shape[1].get_length()
            model.reshape([1, channels, *size])
        return model

    def _compile(self, model: Any) -> None:
        self.compiled = openvino_core().compile_model(model, 'CPU', self._config)
        self._request = self.compiled.create_infer_request()

    def take_bytes(self) -> tuple[float, int] | None:
        model = self._read()
        integers = take_bytes(model)
        if integers is not None:
            self._compile(model)
        return integers

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        # The array outlives the call, so that the engine may read it where it lies.
        results = self._request.infer({0: x}, share_inputs=True)
        # The engine reuses its memory on the next call.
        return [np.array(results[port]) for port in self.compiled.outputs]

    def count_layers(self) -> tuple[int, int]:
        integer = total = 0
        for node in self.compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if str(info['layerType'].value) in LAYERS:
                total += 1
                integer += str(info['runtimePrecision'].value) in ('u8', 'i8')
        return integer, total - integer

    @classmethod
    def write(cls, source: Path, path: Path) -> None:
        """Copy the ONNX file, or convert it where ``path`` ends in ``.xml``."""
        if path.suffix == '.onnx':
            super().write(source, path)
            return
        entries = require_package('onnx').load(source, load_external_data=False).metadata_props
        try:
            model = cls.require().convert_model(source)
        except Exception as error:  # of the converter and its frontends
            raise unreadable(path, error) from error
        write_openvino(model, {entry.key: entry.value for entry in entries}, path)

    @classmethod
    def read_metadata(cls, path: str | Path) -> dict[str, Any]:
        """Metadata from the runtime information of an ``.xml`` file, or from an ONNX file."""
        if Path(path).suffix == '.onnx':
            return super().read_metadata(path)
        try:
            model = openvino_core().read_model(path)
        except RuntimeError as error:
            raise unreadable(path, error) from error
        if not model.has_rt_info([RT_INFO_KEY]):
            return {}
        return parse_metadata(json.loads(model.get_rt_info([RT_INFO_KEY]).value))


def output_name(names: set[str]) -> str:
    """The name of an output, of those of the tensor that it became in the engine.

    Names of tensors inside of an exported network are paths of modules.
    """
    return min(names, key=lambda name: (name.startswith('/'), name))


@functools.cache
def openvino_core() -> Any:
    """The one core of the process.

    Each core that loads the CPU plugin swaps the thread's alternate signal stack and restores the
    one it found. With several cores that are not released in reverse order, it restores memory
    that was freed already, and the next signal ends the process.
    """
    return OpenVinoEngine.require().Core()


def write_openvino(model: Any, entries: dict[str, str], path: Path) -> None:
    """Write a model of OpenVINO with the metadata that ``tools/test.py`` needs.

    Args:
        model (openvino.Model): Gets the metadata.
        entries (dict[str, str]): Metadata, as an ONNX file has them.
        path (Path): Ends in ``.xml``; the weights go next to it.
    """
    model.set_rt_info(json.dumps(entries), [RT_INFO_KEY])
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, 'model.xml')
        OpenVinoEngine.require().save_model(model, xml, compress_to_fp16=False)
        # The context of the graph ends last, so that the graph never appears without its weights.
        with complete_file(path) as graph, complete_file(path.with_suffix('.bin')) as weights:
            shutil.copyfile(xml, graph)
            shutil.copyfile(xml.with_suffix('.bin'), weights)
