"""TensorRT."""

from types import ModuleType

from mmptq.quantization import QuantizationError

from .onnxruntime_engine import OnnxRuntimeEngine
from .registry import ENGINES


@ENGINES.register_module('tensorrt')
class TensorRtEngine(OnnxRuntimeEngine):
    """TensorRT inside of ONNX Runtime; needs a GPU."""

    install = 'pip install onnxruntime-gpu tensorrt'
    provider = 'TensorrtExecutionProvider'
    optional_at_export = True

    @classmethod
    def require(cls) -> ModuleType:
        module = super().require()
        if cls.provider not in module.get_available_providers():
            raise QuantizationError(
                f"'tensorrt' is not installed: run `{cls.install}` on a machine with a GPU"
            )
        return module
