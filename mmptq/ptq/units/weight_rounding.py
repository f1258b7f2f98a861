"""The protocol of how the rounding of weights is learned."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mmptq.quantization import FakeQuantizer


class WeightRounding(ABC):
    """How the rounding of a unit's weights is learned; a subclass is registered in TASK_UTILS.

    The training of a unit puts the module of ``begin`` into the quantizer of each weight, learns
    the parameters of these modules with Adam, and at the end replaces each module by its
    ``harden()``.

    Attributes:
        lr (float): Learning rate.
    """

    lr: float

    @abstractmethod
    def begin(self, weight: Tensor, quantizer: FakeQuantizer) -> nn.Module:
        """A module with the parameters that decide about the rounding of one weight.

        Args:
            weight (Tensor): The weight.
            quantizer (FakeQuantizer): Its quantizer, calibrated. ``quantizer.rounding`` holds the
                ``HardRounding`` that an earlier stage learned, or None.

        Returns:
            nn.Module: Called with (weight, scale, zero_point, scheme) in place of rounding to the
            nearest. Its ``harden()`` returns a :class:`HardRounding`.
        """

    def before_step(self, modules: list[nn.Module]) -> None:  # noqa: B027 (an optional hook)
        """Called before every step with the modules of all weights of the unit."""

    def after_backward(  # noqa: B027
        self, modules: list[nn.Module], progress: float
    ) -> None:
        """Called between backward and the optimizer's step; may change gradients.

        Args:
            modules (list[nn.Module]): Of all weights of the unit.
            progress (float): Share of the steps that are done.
        """
