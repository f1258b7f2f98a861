"""Files for inference engines: export, check, score, time."""

from .engine_detector import is_engine_file, open_engine_file, replace_with_engine
from .engines import ENGINES, Engine, open_engine
from .export import build_model, check_exportable, export_float, export_quantized
from .export_profile import ExportProfile
from .exported_subgraph import ExportedSubgraph, subgraph_inputs
from .file_form import FileForm
from .raw_images import RawImages

__all__ = [
    'ENGINES',
    'Engine',
    'ExportProfile',
    'ExportedSubgraph',
    'FileForm',
    'RawImages',
    'build_model',
    'check_exportable',
    'export_float',
    'export_quantized',
    'is_engine_file',
    'open_engine',
    'open_engine_file',
    'replace_with_engine',
    'subgraph_inputs',
]
