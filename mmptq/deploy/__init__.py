"""Files for inference engines: export, check, score, time."""

from .engine_detector import is_engine_file, open_engine_file, replace_with_engine
from .engines.engines import Engine, open_engine
from .export import build_model, check_exportable, export_float, export_quantized
from .exported_subgraph import ExportedSubgraph, subgraph_inputs

__all__ = [
    'Engine',
    'ExportedSubgraph',
    'build_model',
    'check_exportable',
    'export_float',
    'export_quantized',
    'replace_with_engine',
    'is_engine_file',
    'open_engine_file',
    'open_engine',
    'subgraph_inputs',
]
