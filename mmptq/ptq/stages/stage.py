"""The contract of a step of a recipe."""

from abc import ABC, abstractmethod
from collections.abc import Set

from mmptq.ptq.context import PTQContext

RANGES = 'ranges'
FLOAT_MODEL = 'float_model'
UNLEARNED = 'unlearned'
ADAPTER = 'adapter'


class Stage(ABC):
    """One step of a recipe; says what it needs, gives and breaks, so that orders are checked.

    ``ranges``: every quantizer has a scale and a zero point that fit the weights.
    ``float_model``: with quantizers off, the model computes what it did before quantization.
    ``unlearned``: nothing was learned on the present scales, so that others may take their place.
    ``adapter``: a registered adapter knows the detector (only in ``needs``).

    A stage can set these for one object in ``__init__`` where they depend on arguments. A class
    that is no subclass and has ``run(ctx)`` works as well; its order is not checked.

    Attributes:
        needs (Set[str]): What must hold before the stage runs.
        gives (Set[str]): What holds after it.
        breaks (Set[str]): What does not hold any more after it.

    Example:
        >>> @TASK_UTILS.register_module()
        ... class RoundScales(Stage):
        ...     needs = frozenset({RANGES})
        ...     def run(self, ctx): ...
    """

    needs: Set[str] = frozenset()
    gives: Set[str] = frozenset()
    breaks: Set[str] = frozenset()

    def check(self, ctx: PTQContext) -> None:  # noqa: B027 (most stages have nothing to check)
        """Refuse what cannot work with this model; called after the plan, before any other work.

        Args:
            ctx (PTQContext): Planned, with the float model.

        Raises:
            QuantizationError: Names the argument and the fix.
        """

    @abstractmethod
    def run(self, ctx: PTQContext) -> None:
        """Do the step; talks to other stages only through the context."""
