"""Sparse convolutions in integers on a CPU: export, check, run."""

from .detector import open_sparse_network, replace_encoder, weights_before
from .export import SparseExport, plan_sparse_export
from .file import SUFFIX, read_graph, sparse_file_of, write_graph
from .graph import SparseGraph, SparseLayer
from .library import is_built, load_library
from .network import SparseNetwork
from .walk import find_sparse_encoder, read_encoder

__all__ = [
    'SUFFIX',
    'SparseExport',
    'SparseGraph',
    'SparseLayer',
    'SparseNetwork',
    'find_sparse_encoder',
    'is_built',
    'load_library',
    'open_sparse_network',
    'plan_sparse_export',
    'read_encoder',
    'read_graph',
    'weights_before',
    'replace_encoder',
    'sparse_file_of',
    'write_graph',
]
