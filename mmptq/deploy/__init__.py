"""Files for inference engines: export, check, score, time."""

from .deployed import install_deployed, is_deployed, open_deployed
from .engines.engines import Engine, open_engine
from .export import build_model, check_exportable, export_float, export_quantized
from .section import Section, section_inputs

__all__ = [
    'Engine',
    'Section',
    'build_model',
    'check_exportable',
    'export_float',
    'export_quantized',
    'install_deployed',
    'is_deployed',
    'open_deployed',
    'open_engine',
    'section_inputs',
]
