"""What runs exported files: one class per engine, by name in ``ENGINES``."""

from .engine import Engine, run_engine
from .onnxruntime_engine import OnnxRuntimeEngine
from .openvino_engine import OpenVinoEngine
from .registry import ENGINES, engine_of_file, engine_suffixes, find_engine, open_engine
from .simulation_engine import SimulationEngine
from .tensorrt_engine import TensorRtEngine

__all__ = [
    'ENGINES',
    'Engine',
    'OnnxRuntimeEngine',
    'OpenVinoEngine',
    'SimulationEngine',
    'TensorRtEngine',
    'engine_of_file',
    'engine_suffixes',
    'find_engine',
    'open_engine',
    'run_engine',
]
