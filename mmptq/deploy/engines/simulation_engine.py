"""The float simulation of a file."""

from .onnxruntime_engine import OnnxRuntimeEngine
from .registry import ENGINES


@ENGINES.register_module('simulation')
class SimulationEngine(OnnxRuntimeEngine):
    """ONNX Runtime without optimisation: the exact simulation of a file.

    Each QuantizeLinear and DequantizeLinear is carried out, and layers compute in float on rounded
    numbers.
    """

    optimize = False
