"""A float model that looks at the very same new images as the model that learns from it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from torch import Tensor

from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs

from .fresh_images import FreshImages


class FreshTeacher:
    """A task loss on new images, with targets that the float model gives at once.

    Args:
        teacher (TeacherOutputs): The loss, and its targets on the calibration samples.
        images (FreshImages): Makes the new images.
        as_float (Callable): A context in which the model is the float model.
    """

    def __init__(
        self,
        teacher: TeacherOutputs,
        images: FreshImages,
        as_float: Callable[[], AbstractContextManager],
    ):
        self.teacher, self.images, self.as_float = teacher, images, as_float

    def parts(self, chosen: Sequence[int], step: int) -> dict[str, Tensor]:
        """The loss of the model in its present state by head, on the new images of a step.

        Args:
            chosen (Sequence[int]): Samples that the images are made of, with targets.
            step (int): Index of the step.

        Returns:
            dict[str, Tensor]: Scalars. Where the float model gives no target on any new image,
            they are those of the first sample itself.
        """
        adapter, loss = self.teacher.adapter, self.teacher.loss
        data = self.images.batch(chosen, step)
        with self.as_float():
            target = loss.make_target(adapter, adapter.raw_outputs(data), data)
        if target is None and loss.needs_target:
            return self.teacher.parts(chosen[0], self.teacher.raw_outputs(chosen[0]))
        return loss.parts(adapter, adapter.raw_outputs(data), data, target)
