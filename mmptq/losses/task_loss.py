"""The protocol of a loss on head outputs."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from mmptq.adapters import Adapter
from mmptq.utils.errors import QuantizationError


class TaskLoss(nn.Module, ABC):
    """A loss on the outputs of a detector's heads, in place of the task loss; needs no labels.

    A subclass is registered in ``MODELS``. Stages that learn or search build it once, make the
    target of each calibration sample with the float model, and then ask for the loss of the
    quantized model. The order of calls is: ``make_target`` for each sample, ``prepare`` once,
    then ``forward`` any number of times, with ``after_step`` after every learning step.

    The object is in training mode during learning steps only. Stages compare the loss before and
    after learning in eval mode; a loss that changes its weights in ``after_step`` has to ignore
    these changes there. What ``after_step`` changes belongs into buffers: a resumed run restores
    them.

    Attributes:
        needs_target (bool): Whether ``forward`` compares with the float model. If not,
            ``make_target`` is not called and ``forward`` gets None. Defaults to True.
        whole_network (bool): Whether the loss looks at more than head outputs, so that the model
            has to run as a whole. Defaults to False.
        missing_hint (str): What to look at where samples have no target; the end of a message.

    Example:
        >>> @MODELS.register_module()
        >>> class ScoreLoss(TaskLoss):
        >>>     def make_target(self, adapter, raw, data):
        >>>         return [output.probabilities() for output in adapter.outputs(raw)]
        >>>
        >>>     def forward(self, adapter, raw, data, target):
        >>>         outputs = adapter.outputs(raw)
        >>>         return {
        >>>             output.name: (output.probabilities() - probabilities).square().mean()
        >>>             for output, probabilities in zip(outputs, target)
        >>>         }
    """

    needs_target: ClassVar[bool] = True
    whole_network: bool = False
    missing_hint: ClassVar[str] = (
        'check the checkpoint and the calibration data, or lower score_thr of the loss'
    )

    def check(self, adapter: Adapter) -> None:  # noqa: B027 (an optional hook)
        """Refuse a model that this loss is not for, before any work.

        Args:
            adapter (Adapter): Adapter of the model.

        Raises:
            QuantizationError: With what is missing.
        """

    def make_target(self, adapter: Adapter, raw: Any, data: dict[str, Any]) -> Any | None:
        """What ``forward`` compares with on a sample, without gradients.

        Args:
            adapter (Adapter): Adapter of the model.
            raw (Any): Raw outputs of the float model; must not be changed.
            data (dict): The batch that ``raw`` was made from.

        Returns:
            Any or None: Nested tensors, dataclasses and data samples; they are kept under a
            memory budget. None leaves the sample out, because it has nothing to learn from.
        """
        return None

    @abstractmethod
    def forward(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: Any
    ) -> Tensor | dict[str, Tensor]:
        """The loss on a sample.

        Args:
            adapter (Adapter): Adapter of the model.
            raw (Any): Raw outputs of the quantized model; must not be changed.
            data (dict): The batch that ``raw`` was made from.
            target (Any): From ``make_target``.

        Returns:
            Tensor or dict[str, Tensor]: A scalar, or one scalar per head. Stages minimize the
            sum and give the parts to ``after_step``.
        """

    def prepare(self, teacher: Any) -> None:  # noqa: B027 (an optional hook)
        """Look at the whole calibration set once, before the first learning step.

        In a run of several processes each sees its part of the samples, and all have to come to
        the same result: combine what they see with ``teacher.mean_over_samples``, or with
        ``mmptq.ptq.parallel``.

        Args:
            teacher (TeacherOutputs): ``len(teacher)`` samples with ``teacher.data(index)``,
                ``teacher.target(index)``, ``teacher.float_raw(index)`` and, from the model in its
                present state, ``teacher.raw_outputs(index)``; ``teacher.adapter``.
        """

    def after_step(self, step: int, losses: dict[str, Tensor]) -> None:  # noqa: B027
        """Look at the losses of a learning step after the optimizer's step.

        Args:
            step (int): Index of the step, from 0 for each unit that is learned.
            losses (dict[str, Tensor]): Detached scalars by head, or ``{'loss': scalar}`` for a
                loss without heads; means over the samples of the step.
        """

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """What ``run.json`` shall hold of the loss: rows by kind; asked for after learning."""
        return {}

    def parts(
        self, adapter: Adapter, raw: Any, data: dict[str, Any], target: Any
    ) -> dict[str, Tensor]:
        """What ``forward`` returns, as scalars by name; a single scalar is called 'loss'.

        Raises:
            QuantizationError: If a part is not a scalar tensor.
        """
        result = self(adapter, raw, data, target)
        parts = result if isinstance(result, dict) else {'loss': result}
        for name, part in parts.items():
            if not isinstance(part, Tensor) or part.dim():
                raise QuantizationError(
                    f"{type(self).__name__}.forward returned {type(part).__name__} for '{name}': "
                    'return a scalar tensor, or a dict with one scalar tensor per head'
                )
        return parts
