"""Whether a detector computes its head outputs as its exported part does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.hooks import replaced_forwards, temporary_hooks
from mmptq.utils.messages import first_line
from mmptq.utils.trees import flatten

TOLERANCE = 1e-5  # of the largest output; on a CPU they are equal


class HeadWatch:
    """Notes, for the first sample, what the head returned and which other modules ran.

    Args:
        detector (nn.Module): In eval mode.
        names (tuple[str, str, str]): Attribute names of backbone, neck and head.
        inside (list[str], optional): Attribute names of all exported parts. Defaults to ``names``.

    Attributes:
        inputs (list[Tensor]): What entered the backbone, call by call.
    """

    def __init__(
        self, detector: nn.Module, names: tuple[str, str, str], inside: list[str] | None = None
    ):
        self.detector = detector
        self.names = names
        self.inside = inside or list(names)
        self.inputs: list[Tensor] = []
        self._finished = False
        self._outputs: list[list[Tensor]] = []
        self._others: dict[str, nn.Module] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the detector is watched; it computes what it always does."""
        backbone, head = (getattr(self.detector, name) for name in (self.names[0], self.names[2]))
        forward = head.forward

        def record(*args, **kwargs) -> Any:
            result = forward(*args, **kwargs)
            if self._is_first:
                # Decoding may work in place.
                self._outputs.append([tensor.detach().clone() for tensor in flatten(result)[0]])
            return result

        before = {module: self._note(name) for name, module in self._outside()}
        before[backbone] = lambda _, args: self.inputs.append(args[0].detach())
        after = {self.detector: self._finish}
        with temporary_hooks(before, after), replaced_forwards({head: record}):
            yield

    @property
    def _is_first(self) -> bool:
        """Whether the first sample is between the backbone and the end of the detector."""
        return len(self.inputs) == 1 and not self._finished

    def _finish(self, *_) -> None:
        self._finished = bool(self.inputs)

    def _outside(self) -> Iterator[tuple[str, nn.Module]]:
        """Modules that are in none of the exported parts."""
        parts = [getattr(self.detector, name, None) for name in self.inside]
        inside = {id(m) for part in parts if part is not None for m in part.modules()}
        for name, module in self.detector.named_modules():
            if name and id(module) not in inside:
                yield name, module

    def _note(self, name: str):
        def note(module: nn.Module, _: Any) -> None:
            if self._is_first:  # what runs before the backbone stays in the detector
                self._others.setdefault(name, module)

        return note

    @torch.no_grad()
    def check(self, subgraph: nn.Module) -> None:
        """Compare the exported part with what the head returned on the first sample.

        Args:
            subgraph (nn.Module): Of the same detector.

        Raises:
            QuantizationError: If they differ, or weights beside the three parts took part; names
                the module.
        """
        if not self.inputs:
            return
        weighted = [n for n, m in self._others.items() if any(True for _ in m.parameters())]
        if weighted:
            raise self._error(f"'{weighted[0]}' runs after the backbone, and has weights")
        head = self.names[2]
        if len(self._outputs) != 1:
            raise self._error(f"the forward of '{head}' runs {len(self._outputs)} times, not once")
        try:
            found = subgraph(self.inputs[0])
        except Exception as error:
            raise self._error(
                f"'{head}' does not run on the features alone ({first_line(error)})"
            ) from error
        (expected,) = self._outputs
        if len(found) != len(expected) or not all(map(_equal, found, expected)):
            if self.inside != list(self.names):
                raise QuantizationError(
                    f'{type(self.detector).__name__} cannot be exported: it masks padded pixels, '
                    'and a file has one input, without a mask: export with images that need no '
                    'padding (--cfg-options model.data_preprocessor.pad_size_divisor=1)'
                )
            raise self._error(f'{self._between()} changes what the head gets or gives')

    def _error(self, problem: str) -> QuantizationError:
        parts = [n for n in self.names if getattr(self.detector, n, None) is not None]
        return QuantizationError(
            f'{type(self.detector).__name__} cannot be exported: {problem}, and the file would '
            f'only hold {", ".join(parts)}, one after the other: move it into one of them'
        )

    def _between(self) -> str:
        if self._others:
            return f"'{next(iter(self._others))}'"
        kind = type(self.detector)
        for method in ('extract_feat', 'extract_feats', 'predict', 'forward'):
            owner = next((base for base in kind.__mro__ if method in vars(base)), None)
            if owner is not None and not owner.__module__.startswith(('mmdet.', 'mmdet3d.')):
                return f'{owner.__name__}.{method}'
        return f'something in {kind.__name__}'


def _equal(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    if not found.numel():
        return True
    found, expected = found.double(), expected.double()
    # NaN and inf in the same places are no difference: what makes them is said elsewhere.
    differs = (found != expected) & ~(found.isnan() & expected.isnan())
    if not differs.any():
        return True
    difference = (found - expected)[differs].abs().max()
    finite = expected[expected.isfinite()]
    return bool(len(finite) and difference <= TOLERANCE * finite.abs().max())
