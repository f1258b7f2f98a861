"""AdaRound: each weight goes to the grid point below or above, whichever the loss prefers."""

from dataclasses import dataclass

from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.quantization import FakeQuantizer, SoftRounding
from mmptq.utils.errors import QuantizationError

from .weight_rounding import WeightRounding


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class AdaRound(WeightRounding):
    """Learns a fraction between two grid points; a penalty drives it to 0 or 1 on a schedule.

    https://arxiv.org/abs/2004.10568, equations 21 to 24; see :class:`SoftRounding`.

    Note:
        The penalty is a mean over the values, next to a loss that starts at 1. The papers add
        0.01 times the sum to a loss in its own units. For a block of a 4-bit network this equals
        a weight of a few hundred; between 100 and 1000 the result hardly changes. The papers take
        20000 steps at a learning rate of 1e-3; 500 steps need a larger rate.

    Args:
        reg_weight (float): Factor of the penalty. Defaults to 100.
        warmup (float): Share of the iterations without penalty. Defaults to 0.2.
        start (float): Temperature after the warm-up. Defaults to 20.
        end (float): Temperature at the end; it falls linearly. Defaults to 2.
        lr (float): Learning rate (Adam). Defaults to 0.1.

    Example:
        >>> rounding = dict(type='AdaRound', warmup=0.2, start=20, end=2)

    Raises:
        QuantizationError: If an option is out of range.
    """

    reg_weight: float = 100.0
    warmup: float = 0.2
    start: float = 20.0
    end: float = 2.0
    lr: float = 0.1

    def __post_init__(self):
        if min(self.reg_weight, self.lr) < 0 or not 0 <= self.warmup <= 1 or self.end < 1:
            raise QuantizationError(
                f'AdaRound got reg_weight={self.reg_weight!r}, warmup={self.warmup!r}, '
                f'end={self.end!r}, lr={self.lr!r}: use reg_weight >= 0, lr >= 0, '
                '0 <= warmup <= 1 and end >= 1'
            )

    def begin(self, weight: Tensor, quantizer: FakeQuantizer) -> SoftRounding:
        round_up = getattr(quantizer.rounding, 'round_up', None)
        scheme = quantizer.scheme
        return SoftRounding(weight, quantizer.scale, quantizer.zero_point, scheme, round_up)

    def before_step(self, modules: list[SoftRounding]) -> None:
        for soft in modules:
            soft.prepare()

    def after_backward(self, modules: list[SoftRounding], progress: float) -> None:
        temperature = self.temperature(progress)
        penalty = 0.0 if temperature is None else self.reg_weight
        penalty /= max(1, sum(soft.alpha.numel() for soft in modules))
        for soft in modules:
            soft.carry_gradient(penalty, temperature or 1.0)

    def temperature(self, progress: float) -> float | None:
        """Temperature of the penalty at a share of the iterations; None in the warm-up."""
        if progress < self.warmup:
            return None
        rest = (progress - self.warmup) / max(1 - self.warmup, 1e-9)
        return self.end + (self.start - self.end) * max(0.0, 1 - rest)
