"""What a detector does around the exported part, which a file cannot hold."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmptq.quantization import QuantizationError
from mmptq.utils.agree import agree
from mmptq.utils.attributes import replaced_attribute
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import flatten, tensors_in

from .file_form import FileForm

PREDICT = 'predict_by_feat'
FIELDS = ('bboxes', 'scores', 'labels')


class DetectorWatch:
    """Notes, for the first sample, what happens before the backbone and after the head.

    Args:
        detector (nn.Module): In eval mode.
        backbone (str): Name of its attribute.
        head (str): Name of its attribute.

    Attributes:
        before (str | None): What the backbone gets instead of the images, as a part of a sentence;
            None where it gets what the data preprocessor gave, or no images are taken.
        after (str | None): What is done beside the decoding of the head; None for nothing.
    """

    def __init__(self, detector: nn.Module, backbone: str, head: str):
        self.detector, self.names = detector, (backbone, head)
        self.before: str | None = None
        self.after: str | None = None
        self._images: Tensor | None = None
        self._passes = 0
        self._head_outputs: list[list[Tensor]] = []
        self._decoded: list[tuple[list[Tensor], Any]] = []
        self._finished = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the detector is watched; it computes what it always does."""
        backbone, head = (getattr(self.detector, name) for name in self.names)
        before = {self.detector: self._enter, backbone: self._enter_backbone}
        after = {head: self._leave_head, self.detector: self._finish}
        with ExitStack() as stack:
            stack.enter_context(temporary_hooks(before, after, with_kwargs=True))
            if hasattr(head, PREDICT):
                stack.enter_context(replaced_attribute(head, PREDICT, self._decoding(head)))
            yield

    def check(self, form: FileForm) -> None:
        """Refuse a file that would leave out what it promises; warn of what stays outside.

        Raises:
            QuantizationError: If the file takes raw images or gives boxes, and the detector does
                something else before or after.
        """
        kind = type(self.detector).__name__
        if self.before and (form.raw is not None or form.end_to_end):
            option = '--end-to-end' if form.end_to_end else '--with-normalization'
            raise QuantizationError(
                f'{option}: {kind} cannot be exported as a whole, because {self.before}: leave out '
                f'{option}'
            )
        if self.after and form.end_to_end:
            raise QuantizationError(
                f'--end-to-end: {kind} cannot be exported as a whole, because {self.after}: leave '
                'out --end-to-end'
            )
        if self.before:
            MMLogger.get_current_instance().warning(
                f"{self.before}: the file takes what enters '{self.names[0]}', and the rest stays "
                'with the detector'
            )

    def _enter(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        images = kwargs.get('inputs', args[0] if args else None)
        if isinstance(images, Mapping):  # of mmdet3d's detectors on images
            images = images.get('imgs', images.get('img'))
        if not self._finished and isinstance(images, Tensor) and images.dim() == 4:
            self._images = images.detach().clone()

    def _enter_backbone(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._finished:
            return
        self._passes += 1
        x = next(tensors_in((args, kwargs)), None)
        first = self._passes == 1 and self._images is not None and x is not None
        if first and not agree(self._images, x):
            self.before = f"images are changed before '{self.names[0]}' gets them"

    def _leave_head(self, _: nn.Module, args: tuple, output: Any) -> None:
        if not self._finished:
            self._head_outputs.append(_copies(output))

    def _decoding(self, head: nn.Module) -> Any:
        decode = getattr(head, PREDICT)

        def predict_by_feat(*args, **kwargs) -> Any:
            if self._finished:
                return decode(*args, **kwargs)
            given = _copies([x for x in args if _is_raw(x)])
            result = decode(*args, **kwargs)
            self._decoded.append((given, [_fields(found) for found in result]))
            return result

        return predict_by_feat

    def _finish(self, _: nn.Module, args: tuple, output: Any) -> None:
        if not self._finished:
            self._finished = True
            self.after = self._after(output)

    def _after(self, output: Any) -> str | None:
        backbone, head = self.names
        if self._passes > 1:
            return f"'{backbone}' runs {self._passes} times for one image"
        if not hasattr(getattr(self.detector, head), PREDICT):
            return None
        if len(self._decoded) != 1 or len(self._head_outputs) != 1:
            return f"'{head}' runs or decodes {len(self._decoded)} times for one image"
        given, decoded = self._decoded[0]
        if not _same(self._head_outputs[0][: len(given)], given):
            return f"what '{head}' gives is changed before it is decoded"
        found = [_fields(getattr(sample, 'pred_instances', None)) for sample in output]
        if len(found) != len(decoded) or not all(map(_same, decoded, found)):
            return f"detections are changed after '{head}' decoded them"
        return None


def _is_raw(x: Any) -> bool:
    """Whether an argument of the decoding holds head outputs."""
    return isinstance(x, (Tensor, list, tuple)) and any(True for _ in tensors_in(x))


def _copies(data: Any) -> list[Tensor]:
    return [x.detach().clone() for x in flatten(data)[0]]


def _fields(found: Any) -> list[Tensor]:
    """Copies of what detections hold."""
    values = [getattr(found, name, None) for name in FIELDS]
    return [x.detach().clone() for x in values if isinstance(x, Tensor)]


def _same(first: list[Tensor], second: list[Tensor]) -> bool:
    if len(first) != len(second):
        return False
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True))
