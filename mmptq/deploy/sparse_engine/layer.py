"""One sparse convolution, packed for an instruction set."""

from dataclasses import dataclass

import numpy as np

from mmptq.quantization import QuantizationError

from .library import Conv, Library, Rows, address
from .memory import Memory
from .sites import NeighbourLists

BYTES, SHORTS, FLOATS = 0, 1, 2
LARGEST_SUM = 2**31 - 1


@dataclass(frozen=True)
class InputGrid:
    """Integers of the input of a layer, or floats.

    Args:
        scale (float): Step; 0 stands for a float input.
        zero (int): Zero point.
        low (int): Lowest integer.
        high (int): Highest integer.
    """

    scale: float = 0.0
    zero: int = 0
    low: int = 0
    high: int = 0

    @property
    def is_float(self) -> bool:
        """Whether the layer takes floats."""
        return self.scale == 0

    @property
    def shift(self) -> int:
        """What is added to the integers, so that they fit into uint8, or else int16."""
        if self.low >= 0 and self.high <= 255:
            return 0
        if self.high - self.low <= 255:
            return -self.low
        return -32768 - self.low

    @property
    def fits_byte(self) -> bool:
        """Whether the shifted integers fit into uint8."""
        return self.high - self.low <= 255

    @property
    def farthest(self) -> int:
        """Largest distance from the zero point."""
        return max(self.high - self.zero, self.zero - self.low)

    def storage(self, byte_groups: bool) -> int:
        """How rows of this grid are stored."""
        if self.is_float:
            return FLOATS
        return BYTES if self.fits_byte and byte_groups else SHORTS


def row_stride(channels: int, kind: int) -> int:
    """Values in a stored row: channels, filled up to whole groups of 32 bits."""
    group = (4, 2, 1)[kind]
    return -(-channels // group) * group


DTYPES = (np.uint8, np.int16, np.float32)


def inverse_of(scale: float) -> np.float32:
    """The reciprocal as the fake quantizer takes it."""
    return np.float32(1.0) / np.float32(scale)


class Kernels:
    """The kernels of one instruction set, on some threads.

    Args:
        library (Library): The compiled library.
        isa (str, optional): Name of the instruction set; default is the fastest.
        threads (int): Defaults to 1.
    """

    def __init__(self, library: Library, isa: str | None = None, threads: int = 1):
        self.library, self.isa, self.threads = library, library.choose(isa), max(threads, 1)
        self.byte_groups = bool(library.byte_groups(self.isa))
        self.memory = Memory()

    def storage(self, grid: InputGrid, byte_rows: bool = False) -> int:
        """How rows of a grid are stored.

        Args:
            grid (InputGrid): The grid.
            byte_rows (bool): Whether uint8 stays uint8 where kernels take int16, because something
                else takes the rows.
        """
        return grid.storage(self.byte_groups or byte_rows)

    def empty_rows(self, count: int, channels: int, kind: int) -> np.ndarray:
        """Room for rows of features."""
        return self.memory.empty((count, row_stride(channels, kind)), DTYPES[kind])

    def quantize(
        self,
        x: np.ndarray,
        grid: InputGrid,
        order: np.ndarray | None = None,
        byte_rows: bool = False,
    ) -> np.ndarray:
        """Rows of features for a layer.

        Args:
            x (np.ndarray): (N, C) float32.
            grid (InputGrid): What the layer takes.
            order (np.ndarray, optional): (N,) int32, the row that each row of ``x`` goes to.
            byte_rows (bool): See ``storage``.
        """
        x, kind = np.ascontiguousarray(x, np.float32), self.storage(grid, byte_rows)
        result = self.empty_rows(len(x), x.shape[1], kind)
        rows = Rows(x=address(x), rows=address(order), q=address(result), kind=kind)
        rows.count, rows.channels, rows.stride = len(x), x.shape[1], result.shape[1]
        if kind != FLOATS:
            rows.zero, rows.inverse = grid.zero + grid.shift, inverse_of(grid.scale)
            rows.low, rows.high = grid.low - grid.zero, grid.high - grid.zero
        self.library.quantize(self.isa, rows, self.threads)
        return result


class PackedLayer:
    """Weights of a sparse convolution in the order in which the kernels read them.

    Args:
        kernels (Kernels): Their instruction set.
        weight (np.ndarray): (out, offsets, in): int8, or float32 for a float layer.
        scale (np.ndarray): (out,) step of the weights.
        bias (np.ndarray): (out,).
        grid (InputGrid): Of the input.

    Raises:
        QuantizationError: If sums would not fit into int32.
    """

    def __init__(
        self,
        kernels: Kernels,
        weight: np.ndarray,
        scale: np.ndarray,
        bias: np.ndarray,
        grid: InputGrid,
    ):
        self.kernels, self.grid = kernels, grid
        self.channels, self.offsets, self.inputs = weight.shape
        self.kind = grid.storage(kernels.byte_groups)
        if self.kind != FLOATS:
            check_sums(weight, grid)
        self.block = kernels.library.block(kernels.isa, self.channels)
        by_channel = self.kind == SHORTS and kernels.library.by_channel(kernels.isa)
        self.weight = pack(weight, self.kind, self.block, bool(by_channel))
        self.groups = self.weight.shape[2]
        self.correction = None
        zero = grid.zero + grid.shift
        if self.kind != FLOATS and zero:
            padded = -(-self.channels // self.block) * self.block
            self.correction = np.zeros((self.offsets, padded), np.int32)
            sums = weight.astype(np.int64).sum(2).T
            self.correction[:, : self.channels] = -zero * sums
        step = np.float32(1.0 if grid.is_float else grid.scale)
        self.scale = np.ascontiguousarray(scale.astype(np.float32) * step)
        self.bias = np.ascontiguousarray(bias, np.float32)

    def __call__(
        self,
        x: np.ndarray,
        lists: NeighbourLists,
        relu: bool = False,
        residual: np.ndarray | None = None,
        grid: InputGrid | None = None,
        floats: bool = True,
        byte_rows: bool = False,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Convolve.

        Args:
            x (np.ndarray): Rows of ``Kernels.quantize``, or of a layer before.
            lists (NeighbourLists): Which rows an output site sees.
            relu (bool): Whether negative outputs become 0.
            residual (np.ndarray, optional): (sites, out) float32, added before the ReLU.
            grid (InputGrid, optional): Of the layer behind.
            floats (bool): Whether the output is wanted in float, too.
            byte_rows (bool): See ``Kernels.storage``.

        Returns:
            tuple: (sites, out) float32, and rows for the layer behind; None where not wanted.
        """
        sites = len(lists.target)
        conv = Conv(
            x=address(x),
            weight=address(self.weight),
            correction=address(self.correction),
            scale=address(self.scale),
            bias=address(self.bias),
            residual=address(residual),
            groups=self.groups,
            block=self.block,
            channels=self.channels,
            kind=self.kind,
            relu=relu,
        )
        y = self.kernels.memory.empty((sites, self.channels), np.float32) if floats else None
        q = None
        if grid is not None:
            kind = self.kernels.storage(grid, byte_rows)
            q = self.kernels.empty_rows(sites, self.channels, kind)
            conv.q, conv.q_bytes, conv.q_stride = address(q), q.itemsize, q.shape[1]
            conv.q_zero, conv.q_inverse = grid.zero + grid.shift, inverse_of(grid.scale)
            conv.q_low, conv.q_high = grid.low - grid.zero, grid.high - grid.zero
        conv.y = address(y)
        self.kernels.library.convolve(self.kernels.isa, conv, lists.handle, self.kernels.threads)
        return y, q


def check_sums(weight: np.ndarray, grid: InputGrid) -> None:
    """Raise QuantizationError where sums of products could leave int32."""
    if largest_sum(weight, grid) > LARGEST_SUM:
        raise QuantizationError('sums of its products do not fit into int32')


def largest_sum(weight: np.ndarray, grid: InputGrid) -> int:
    """Largest magnitude that a sum over all offsets and channels can have."""
    return int(np.abs(weight.astype(np.int64)).sum((1, 2)).max(initial=0)) * grid.farthest


def pack(weight: np.ndarray, kind: int, block: int, by_channel: bool) -> np.ndarray:
    """Weights (out, offsets, in) as (blocks, offsets, groups, block) of 32 bits.

    Args:
        weight (np.ndarray): Integers or floats.
        kind (int): How the features are stored.
        block (int): Output channels of a block.
        by_channel (bool): Whether the weights of an output channel lie side by side within a
            block and offset, in place of groups.
    """
    channels, offsets, inputs = weight.shape
    dtype = (np.int8, np.int16, np.float32)[kind]
    size = 4 // np.dtype(dtype).itemsize
    groups, blocks = -(-inputs // size), -(-channels // block)
    padded = np.zeros((blocks * block, offsets, groups * size), dtype)
    padded[:channels, :, :inputs] = weight
    parts = padded.reshape(blocks, block, offsets, groups, size)
    parts = parts.transpose((0, 2, 1, 3, 4) if by_channel else (0, 2, 3, 1, 4))
    packed = np.ascontiguousarray(parts).view(np.int32)
    return packed.reshape(blocks, offsets, groups, block)
