"""The protocol of weights of local errors."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from .gradients import Gradients


class Importance(ABC):
    """Weights of the errors of units' outputs, from gradients of a task loss.

    A subclass is registered in ``TASK_UTILS``. There are two ways to get gradients, and a subclass
    chooses one by ``per_unit``:

    - False: one backward per sample gives the gradients at all units, in the float model and
      before anything is learned. ``fit`` is called once. Use this for new methods.
    - True: before each unit is learned, one backward per sample gives the gradients at this unit,
      with this unit and earlier ones quantized and later ones float, as in BRECQ. ``fit`` is
      called for each unit, and ``weights`` for this unit only.

    Args:
        loss (dict): Config of the task loss.

    Attributes:
        per_unit (bool): See above. Defaults to False.
        sides (tuple[str]): Where gradients are collected if not ``per_unit``: 'input', 'output'.
            Defaults to ('output',).
        projects (bool): Whether a stage that computes errors itself has to project the error of
            each position on its gradient (a Hessian of rank one). Defaults to False.
    """

    per_unit: ClassVar[bool] = False
    sides: ClassVar[tuple[str, ...]] = ('output',)
    projects: bool = False

    def __init__(self, loss: dict[str, Any]):
        self.loss = loss

    @abstractmethod
    def fit(self, gradients: Gradients) -> None:
        """Take in the gradients of all samples that have a target.

        In a run of several processes these are the samples of this process; combine what has to be
        the same for all samples with ``mmptq.ptq.parallel``.

        Args:
            gradients (Gradients): They can be read as long as weights are asked for.
        """

    @abstractmethod
    def weights(
        self, name: str, sample: int, call: int, side: str = 'output'
    ) -> list[Tensor | float]:
        """Factors of the errors of the outputs, or inputs, of one call of a unit.

        Args:
            name (str): The unit; '' is the whole network.
            sample (int): Index of a sample that has a target; others have weights of 1.
            call (int): Index of the call.
            side (str): 'output' for what the call returns, 'input' for its arguments.

        Returns:
            list[Tensor | float]: One for each tensor on this side of the call, in the order of
            ``gradients.of(name, sample, call, side)``; a tensor is broadcast to the shape of the
            error.
        """

    def report(self) -> list[dict[str, Any]]:
        """What ``fit`` found, as rows for ``run.json``; asked for once if not ``per_unit``."""
        return []
