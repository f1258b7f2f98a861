"""Which part of a detector becomes a file: from its backbone to its raw head outputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.detector_parts import OTHER_STAGES, SINGLE_STAGE
from mmptq.utils.trees import flatten, from_json, to_json, unflatten

from .head_watch import HeadWatch
from .query_detector import (
    PARTS,
    exported_parts,
    head_outputs,
    is_query_detector,
    replace_queries,
)


class ExportedSubgraph(nn.Module):
    """The exported part of a detector: one tensor in, a flat tuple of head outputs out.

    What comes before (data preprocessing, voxels, pillars, sparse convolutions) and after
    (decoding, NMS) stays with the detector.

    Args:
        detector (nn.Module): A stock detector, float or quantized.

    Attributes:
        names (tuple[str, str, str]): Attribute names of backbone, neck and head.
        fixed_size (bool): Whether the size of the first input becomes part of a file.
        structure (Any): How the flat outputs nest, as plain data; set by the first forward.

    Raises:
        QuantizationError: If the detector is not of a family that can be exported.
    """

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.names = find_family(detector)
        self.fixed_size = is_query_detector(detector)
        for name, part in parts_of(detector).items():
            setattr(self, name, part)
        if self.fixed_size:
            for name, parameter in detector.named_parameters(recurse=False):
                self.register_parameter(name, parameter)
        # Not as a module, whose layers would have other names.
        self._detector = (detector,)
        self.structure: Any = None

    def parts(self) -> list[nn.Module]:
        """Backbone, neck (if there is one) and head."""
        return [getattr(self, name) for name in self.names if hasattr(self, name)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.fixed_size:
            x = head_outputs(self._detector[0], x)
        else:
            for part in self.parts():
                x = part(x)
        tensors, structure = flatten(x)
        self.structure = to_json(structure)
        return tuple(tensors)


def parts_of(detector: nn.Module) -> dict[str, nn.Module]:
    """The modules of a detector that become a file, by attribute."""
    if is_query_detector(detector):
        return exported_parts(detector)
    parts = {name: getattr(detector, name, None) for name in find_family(detector)}
    return {name: part for name, part in parts.items() if part is not None}


def find_family(detector: nn.Module) -> tuple[str, str, str]:
    """Attribute names of backbone, neck and head of a detector."""
    if is_query_detector(detector):
        return PARTS
    for part in OTHER_STAGES:
        if getattr(detector, part, None) is not None:
            raise QuantizationError(
                f"{type(detector).__name__} has a '{part}', which cannot be exported: export "
                'works for detectors made of a backbone, a neck and one dense head'
            )
    for names in SINGLE_STAGE:
        if all(getattr(detector, name, None) is not None for name in (names[0], names[2])):
            return names
    raise QuantizationError(
        f'{type(detector).__name__} cannot be exported: it has no backbone and dense head under '
        'the names of mmdet or mmdet3d'
    )


def output_names(structure: Any, prefix: str = '') -> list[str]:
    """Readable names of the flat outputs: ``output_0_2``, ``output_0_0_heatmap``."""
    prefix = prefix or 'output'
    if structure is None:
        return []
    if isinstance(structure, int):
        return [prefix]
    ((kind, inner),) = structure.items()
    items = inner.items() if kind == 'dict' else enumerate(inner)
    return [name for key, value in items for name in output_names(value, f'{prefix}_{key}')]


@contextmanager
def subgraph_inputs(detector: nn.Module) -> Iterator[list[Tensor]]:
    """Within this context the list collects what enters the subgraph, call by call.

    At its end the subgraph is compared with what the head returned in the detector.

    Raises:
        QuantizationError: If the detector computes its head outputs in another way.
    """
    watch = HeadWatch(detector, find_family(detector), list(parts_of(detector)))
    with watch.watching():
        yield watch.inputs
    watch.check(ExportedSubgraph(detector).eval())


def replace_subgraph(
    detector: nn.Module, run: Callable[[Tensor], list[Tensor]], structure: Any
) -> None:
    """Let something else compute the subgraph of a detector; its decoding stays.

    Args:
        detector (nn.Module): Changed in place: backbone, neck and head lose their layers.
        run (Callable): Tensor in, list of flat head outputs out.
        structure (Any): How the flat outputs nest, from ``to_json``.
    """
    backbone, neck, head = find_family(detector)
    nesting = from_json(structure)
    network = _Call(lambda x: unflatten(nesting, run(x)))
    if is_query_detector(detector):
        replace_queries(detector, network)
        return
    setattr(detector, backbone, network)
    if getattr(detector, neck, None) is not None:
        setattr(detector, neck, nn.Identity())
    getattr(detector, head).forward = lambda outputs: outputs


class _Call(nn.Module):
    """A function in the place of a module."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)
