"""A range that follows the batches."""

from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import QScheme, QuantizationError

from .observer import Observer


@TASK_UTILS.register_module()
class MovingAverageObserver(Observer):
    """Exponential moving average of the minimum and maximum of each update.

    Note:
        The result depends on the order of the updates. In a module that runs several times per
        forward (a head on five pyramid levels) the last call weighs most: use
        :class:`MeanMinMaxObserver` there.

    Args:
        scheme (QScheme): The grid that the scale is for.
        momentum (float): Weight of the newest update, as in BatchNorm. Defaults to 0.1.

    Raises:
        QuantizationError: If ``momentum`` is not in (0, 1].

    Examples:
        >>> observer=dict(type='MovingAverageObserver', momentum=0.1)
    """

    def __init__(self, scheme: QScheme, momentum: float = 0.1):
        super().__init__(scheme)
        if not 0 < momentum <= 1:
            raise QuantizationError(
                f'momentum={momentum!r} of MovingAverageObserver must be above 0 and at most 1'
            )
        self.momentum = momentum
        self._ends: tuple[Tensor, Tensor] | None = None

    def _observe(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        if self._ends is not None:
            low = self._ends[0].lerp(low, self.momentum)
            high = self._ends[1].lerp(high, self.momentum)
        self._ends = low, high

    def _range(self) -> tuple[Tensor, Tensor]:
        return self._ends
