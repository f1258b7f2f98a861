"""Which input coordinates an output coordinate of a sparse convolution sees."""

from dataclasses import dataclass

import numpy as np

SUBM, STRIDED, INVERSE = 'subm', 'conv', 'inverse'
WINDOW = 8  # of engine.hpp


@dataclass(frozen=True)
class KernelGeometry:
    """Kernel of a layer along z, y and x; a 2D layer has one offset along z.

    Args:
        kind (str): 'subm' keeps the sites; 'conv' goes to all sites that see one; 'inverse' goes
            back from the sites of a 'conv' to those before it, and has the numbers of that 'conv'.
        kernel (tuple[int, int, int]): Offsets along each axis.
        stride, padding, dilation (tuple[int, int, int]): As in torch; 'subm' uses the dilation
            only.
    """

    kind: str
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)
    dilation: tuple[int, int, int] = (1, 1, 1)

    @property
    def offsets(self) -> int:
        """Number of kernel offsets."""
        return int(np.prod(self.kernel))

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Grid behind a 'subm' or 'conv' layer."""
        if self.kind == SUBM:
            return tuple(shape)
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                shape, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )

    def sources(self, shape: tuple[int, ...], output: tuple[int, ...]) -> list[np.ndarray]:
        """Input coordinate of each offset and output coordinate, by axis, or -1.

        Args:
            shape (tuple): Grid of the input.
            output (tuple): Grid of the output.

        Returns:
            list[np.ndarray]: Three arrays (kernel, output extent) of int32.
        """
        return [self._source(axis, shape[axis], output[axis]) for axis in range(3)]

    def _source(self, axis: int, extent: int, output: int) -> np.ndarray:
        kernel, stride = self.kernel[axis], self.stride[axis]
        offset = np.arange(kernel)[:, None] * self.dilation[axis]
        place = np.arange(output)[None]
        if self.kind == SUBM:
            source = place + offset - kernel // 2 * self.dilation[axis]
        elif self.kind == STRIDED:
            source = place * stride - self.padding[axis] + offset
        else:
            source, rest = np.divmod(place + self.padding[axis] - offset, stride)
            source[rest != 0] = -1
        source[(source < 0) | (source >= extent)] = -1
        return np.ascontiguousarray(source, np.int32)

    def windows(
        self, shape: tuple[int, ...], output: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the input cells of an output coordinate lie side by side along x.

        Returns:
            tuple: Two arrays (output extent,) of int32: coordinate of the first offset, which may
            be outside of the grid, and a bit for each offset inside. None where they do not lie
            side by side, or are more than eight.
        """
        kernel = self.kernel[2]
        if self.kind == INVERSE or (self.dilation[2] > 1 and kernel > 1) or kernel > WINDOW:
            return None
        place = np.arange(output[2])
        if self.kind == SUBM:
            first = place - kernel // 2
        else:
            first = place * self.stride[2] - self.padding[2]
        offset = np.arange(kernel)[:, None]
        inside = (first + offset >= 0) & (first + offset < shape[2])
        bits = (inside << offset).sum(0)
        # A first cell behind the line, or a whole window before it, is never looked up.
        first = np.where(bits == 0, 0, first)
        return first.astype(np.int32), bits.astype(np.int32)

    def targets(self, shape: tuple[int, ...], output: tuple[int, ...]) -> list[np.ndarray]:
        """Output coordinates that see an input coordinate, by axis.

        Returns:
            list[np.ndarray]: Three arrays (extent, kernel) of int32, filled up with -1.
        """
        tables = []
        for axis, source in enumerate(self.sources(shape, output)):
            table = np.full((shape[axis], self.kernel[axis]), -1, np.int32)
            used = np.zeros(shape[axis], np.int64)
            for row in source:
                seen = np.flatnonzero(row >= 0)
                at = row[seen]
                table[at, used[at]] = seen
                used[at] += 1
            tables.append(table)
        return tables
