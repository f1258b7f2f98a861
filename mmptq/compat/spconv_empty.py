"""Sparse convolutions of inputs without active sites."""

import functools
from collections.abc import Callable
from typing import Any

from .patches import replace_attribute


def accept_empty_input() -> Callable[[], None] | None:
    """Let spconv's convolutions accept an input without active sites.

    Returns:
        Callable | None: Undoes it; None where spconv is not installed.
    """
    try:
        from spconv.pytorch.conv import SparseConvolution
    except ImportError:
        return None
    forward = SparseConvolution.forward

    @functools.wraps(forward)
    def accepting(self, input, *args, **kwargs):
        if is_empty(self, input):
            return empty_output(self, input)
        return forward(self, input, *args, **kwargs)

    return replace_attribute(SparseConvolution, 'forward', accepting)


def is_empty(conv: Any, input: Any) -> bool:
    """Whether a sparse convolution that chooses its own sites has none to compute."""
    return len(input.features) == 0 and not conv.inverse


def empty_output(conv: Any, input: Any) -> Any:
    """The output (0, C) of a sparse convolution for an input without active sites."""
    from spconv.pytorch.ops import get_conv_output_size

    output = input.replace_feature(input.features.new_zeros(0, conv.out_channels))
    if not conv.subm:
        output.spatial_shape = get_conv_output_size(
            input.spatial_shape, conv.kernel_size, conv.stride, conv.padding, conv.dilation
        )
    return output
