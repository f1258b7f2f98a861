"""The compiled kernels and what this processor can run of them."""

import ctypes
import functools
import os
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_void_p
from pathlib import Path

import numpy as np

from mmptq.quantization import QuantizationError

from .build import INSTALL_COMPILER, library_path

BUILD_COMMAND = 'python -m mmptq.deploy.sparse_engine.build'
ISA_VARIABLE = 'MMPTQ_SPARSE_ISA'
LIBRARY_VARIABLE = 'MMPTQ_SPARSE_LIBRARY'  # another compiled file, as one with a sanitizer


class Geometry(ctypes.Structure):
    """``Geometry`` of engine.hpp."""

    _fields_ = [
        ('kernel', c_int64 * 3),
        ('source', POINTER(c_int32) * 3),
        ('extent', c_int64 * 3),
        ('first', c_void_p),
        ('inside', c_void_p),
    ]


class Conv(ctypes.Structure):
    """``Conv`` of engine.hpp."""

    _fields_ = [
        *((name, c_void_p) for name in ('x', 'weight', 'correction', 'scale', 'bias', 'residual')),
        *((name, c_void_p) for name in ('y', 'q')),
        *((name, c_int64) for name in ('groups', 'block', 'channels', 'q_stride')),
        *((name, c_int32) for name in ('kind', 'relu', 'q_bytes', 'q_zero')),
        *((name, c_float) for name in ('q_inverse', 'q_low', 'q_high')),
    ]


class Rows(ctypes.Structure):
    """``Rows`` of engine.hpp."""

    _fields_ = [
        *((name, c_void_p) for name in ('x', 'rows', 'q')),
        *((name, c_int64) for name in ('count', 'channels', 'stride')),
        *((name, c_int32) for name in ('kind', 'zero')),
        *((name, c_float) for name in ('inverse', 'low', 'high')),
    ]


class VoxelGridC(ctypes.Structure):
    """``VoxelGrid`` of points.hpp."""

    _fields_ = [
        ('size', c_float * 3),
        ('low', c_float * 3),
        ('shape', c_int64 * 3),
        *((name, c_int64) for name in ('columns', 'most_points', 'most_voxels')),
    ]


class PointLayerC(ctypes.Structure):
    """``PointLayer`` of points.hpp."""

    _fields_ = [
        *((name, c_void_p) for name in ('weight', 'bias')),
        *((name, c_int64) for name in ('inputs', 'outputs')),
        *((name, c_float) for name in ('scale', 'inverse', 'low', 'high')),
    ]


class PillarEncoder(ctypes.Structure):
    """``PillarEncoder`` of points.hpp."""

    _fields_ = [
        ('layers', POINTER(PointLayerC)),
        ('num_layers', c_int64),
        *((name, c_int32) for name in ('cluster_center', 'voxel_center')),
        *((name, c_int32) for name in ('replace_xyz', 'distance')),
        ('center_size', c_float * 3),
        ('center_offset', c_float * 3),
    ]


# Name: type of the result, types of the arguments.
SIGNATURES = {
    'name': (c_char_p, [c_int32]),
    'supported': (c_int32, [c_int32]),
    'byte_groups': (c_int32, [c_int32]),
    'by_channel': (c_int32, [c_int32]),
    'block': (c_int64, [c_int32, c_int64]),
    'sites_new': (c_void_p, [c_void_p]),
    'sites_free': (None, [c_void_p]),
    'sites_fill': (c_int64, [c_void_p, c_void_p, c_int64, c_void_p]),
    'sites_count': (c_int64, [c_void_p]),
    'sites_coords': (None, [c_void_p, c_void_p]),
    'sites_reach': (None, [c_void_p, c_void_p, c_void_p, POINTER(c_int32) * 3, c_int32]),
    'lists_new': (c_void_p, []),
    'lists_free': (None, [c_void_p]),
    'lists_build': (
        c_int64,
        [c_int32, c_void_p, POINTER(Geometry), c_void_p, c_void_p, c_int32],
    ),
    'lists_table': (None, [c_void_p, c_void_p]),
    'convolve': (None, [c_int32, POINTER(Conv), c_void_p, c_int32]),
    'quantize': (None, [c_int32, POINTER(Rows), c_int32]),
    'voxels_new': (c_void_p, []),
    'voxels_free': (None, [c_void_p]),
    'voxelize': (c_int64, [c_void_p, POINTER(VoxelGridC), c_void_p, c_int64]),
    'voxels_coords': (None, [c_void_p, c_int32, c_void_p]),
    'point_means': (None, [c_void_p, POINTER(VoxelGridC), c_void_p, c_int64, c_void_p]),
    'pillar_features': (
        None,
        [c_int32, c_void_p, POINTER(VoxelGridC), POINTER(PillarEncoder)]
        + [c_void_p, c_void_p, c_int32],
    ),
    'dense_bytes': (None, [c_void_p, c_void_p, c_int64, c_int64, c_int32, c_void_p, c_int32]),
    'dense': (None, [c_void_p, c_void_p, c_int64, c_void_p, c_int32]),
}


class Library:
    """The functions of engine.cpp as attributes, without their prefix.

    Args:
        path (Path): The compiled file.
    """

    def __init__(self, path: Path):
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(loaded, f'mmptq_{name}')
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def instruction_sets(self) -> dict[str, int]:
        """Numbers of the instruction sets that run here, by name, slowest first."""
        names = {}
        number = 0
        while (name := self.name(number)) is not None:
            if self.supported(number):
                names[name.decode()] = number
            number += 1
        return names

    def choose(self, isa: str | None = None) -> int:
        """Number of an instruction set; the fastest one by default.

        Args:
            isa (str, optional): Its name; None asks the variable MMPTQ_SPARSE_ISA.

        Raises:
            QuantizationError: If it does not run here.
        """
        known = self.instruction_sets()
        isa = isa or os.environ.get(ISA_VARIABLE) or next(reversed(known))
        if isa not in known:
            raise QuantizationError(
                f"the sparse engine cannot use '{isa}' on this processor: use one of "
                f'{", ".join(known)}, or leave {ISA_VARIABLE} unset for the fastest'
            )
        return known[isa]


def load_library(path: Path | None = None) -> Library:
    """The compiled library.

    Raises:
        QuantizationError: If it was not compiled, or cannot be loaded.
    """
    path = path or Path(os.environ.get(LIBRARY_VARIABLE) or library_path())
    if not path.exists():
        raise QuantizationError(
            f'the sparse engine is not compiled: run `{BUILD_COMMAND}`, which needs a C++ compiler '
            f'({INSTALL_COMPILER})'
        )
    try:
        return _open(path)
    except (OSError, AttributeError) as error:
        raise QuantizationError(
            f"'{path}' cannot be loaded ({error}): delete it and run `{BUILD_COMMAND}`"
        ) from error


_open = functools.cache(Library)


def is_built() -> bool:
    """Whether the engine can be used here."""
    try:
        load_library()
    except QuantizationError:
        return False
    return True


def address(array: np.ndarray | None) -> int | None:
    """Where the numbers of a contiguous array lie."""
    return None if array is None else array.ctypes.data


def int32_pointers(arrays: list[np.ndarray]):
    """Three arrays of int32 as C sees them; they must outlive the call."""
    return (POINTER(c_int32) * 3)(*(a.ctypes.data_as(POINTER(c_int32)) for a in arrays))
