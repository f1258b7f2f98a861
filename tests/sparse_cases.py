"""Made-up sparse convolutions, and what they give by the definition."""

from itertools import product

import numpy as np
import pytest

from mmptq.deploy.sparse_engine.geometry import INVERSE, STRIDED, SUBM, KernelGeometry
from mmptq.deploy.sparse_engine.layer import InputGrid, Kernels

ISAS = ('plain', 'sse2', 'avx2', 'avx_vnni', 'avx512_vnni')
GRID = (5, 9, 11)
UINT8 = InputGrid(0.5, 0, 0, 255)
# Geometry, input and output channels, grid of the input.
CASES = {
    'subm': (KernelGeometry(SUBM, (3, 3, 3)), 16, 16, UINT8),
    'zero point': (KernelGeometry(SUBM, (3, 3, 3)), 8, 16, InputGrid(0.5, 100, 0, 255)),
    'int8': (KernelGeometry(SUBM, (3, 3, 3)), 12, 32, InputGrid(0.5, -7, -128, 127)),
    'uint4': (KernelGeometry(SUBM, (3, 3, 3)), 16, 64, InputGrid(0.5, 3, 0, 15)),
    '16 bits': (KernelGeometry(SUBM, (3, 3, 3)), 5, 16, InputGrid(1e-3, 30000, 0, 65535)),
    'odd channels': (KernelGeometry(SUBM, (3, 3, 3)), 7, 69, UINT8),
    'wide': (KernelGeometry(SUBM, (3, 3, 3)), 130, 130, UINT8),
    'one channel': (KernelGeometry(SUBM, (1, 1, 1)), 1, 1, UINT8),
    'dilated': (KernelGeometry(SUBM, (1, 3, 3), dilation=(1, 2, 1)), 8, 8, UINT8),
    'even kernel': (KernelGeometry(SUBM, (2, 4, 2)), 8, 8, UINT8),
    'strided': (KernelGeometry(STRIDED, (3, 3, 3), (2, 2, 2), (1, 1, 1)), 16, 32, UINT8),
    'uneven': (KernelGeometry(STRIDED, (3, 1, 5), (2, 1, 3), (0, 0, 1)), 16, 128, UINT8),
    'float': (KernelGeometry(STRIDED, (3, 3, 3), (2, 2, 2), (0, 1, 1)), 5, 20, InputGrid()),
    'inverse': (
        KernelGeometry(INVERSE, (3, 3, 3), (2, 2, 2), (1, 1, 1)),
        32,
        16,
        InputGrid(0.5, 9, 0, 255),
    ),
}


def random_sites(count: int = 120, batch: int = 2, shape: tuple = GRID, seed: int = 0):
    """Coordinates (count, 4) of different cells in no order."""
    generator = np.random.default_rng(seed)
    cells = generator.choice(batch * int(np.prod(shape)), count, replace=False)
    return np.stack(np.unravel_index(cells, (batch, *shape)), 1).astype(np.int32)


def integer_weights(out: int, offsets: int, inputs: int, seed: int = 0) -> np.ndarray:
    """(out, offsets, in) int8 from -127 to 127."""
    generator = np.random.default_rng(seed)
    return generator.integers(-127, 128, (out, offsets, inputs)).astype(np.int8)


def seen_sites(geometry: KernelGeometry, site: tuple) -> list[tuple[int, tuple]]:
    """Kernel offset and input site of all that an output site may see, by the definition."""
    found = []
    for number, offset in enumerate(product(*map(range, geometry.kernel))):
        place = []
        for axis in range(3):
            at, k, step = site[axis + 1], offset[axis], geometry.dilation[axis]
            stride, padding = geometry.stride[axis], geometry.padding[axis]
            if geometry.kind == SUBM:
                place.append(at + (k - geometry.kernel[axis] // 2) * step)
            elif geometry.kind == STRIDED:
                place.append(at * stride - padding + k * step)
            elif (at + padding - k * step) % stride:
                break
            else:
                place.append((at + padding - k * step) // stride)
        if len(place) == 3:
            found.append((number, (site[0], *place)))
    return found


def reference_sums(
    geometry: KernelGeometry,
    weight: np.ndarray,
    x: np.ndarray,
    sites: np.ndarray,
    outputs: np.ndarray,
) -> np.ndarray:
    """Sums (outputs, out) of a sparse convolution, in float64.

    Args:
        geometry (KernelGeometry): The kernel.
        weight (np.ndarray): (out, offsets, in).
        x (np.ndarray): (N, in), zero points taken out.
        sites (np.ndarray): (N, 4) sites of the input.
        outputs (np.ndarray): (M, 4) sites of the output.
    """
    rows = {tuple(site): row for row, site in enumerate(sites.tolist())}
    weight, x = weight.astype(np.float64), x.astype(np.float64)
    result = np.zeros((len(outputs), len(weight)))
    for row, site in enumerate(outputs.tolist()):
        for offset, place in seen_sites(geometry, tuple(site)):
            if place in rows:
                result[row] += weight[:, offset] @ x[rows[place]]
    return result


def integers_of(x: np.ndarray, grid: InputGrid) -> np.ndarray:
    """Integers of floats minus the zero point; the floats where the grid is none."""
    if grid.is_float:
        return x
    steps = np.rint(x * (np.float32(1) / np.float32(grid.scale))) + grid.zero
    return np.clip(steps, grid.low, grid.high) - grid.zero


def kernels_of(library, isa: str, threads: int = 1) -> Kernels:
    """Kernels of an instruction set; the test is skipped where the processor has not got it."""
    if isa not in library.instruction_sets():
        pytest.skip(f'this processor has no {isa}')
    return Kernels(library, isa, threads)
