"""Where the parts of a detector are; their names come from ``mmptq.utils.detector_parts``."""

from torch import nn

from mmptq.utils.detector_parts import BOX_HEADS

# What decides the raw outputs of a head: a subclass that inherits these computes the same.
FORWARD_METHODS = ('forward', 'forward_single')

# Students of mmdet whose losses compare with a teacher, and need what it gives.
STUDENTS = ('LDHead', 'LADHead')


def find_head(model: nn.Module, names: tuple[str, ...] = BOX_HEADS) -> str | None:
    """Name of the first of the modules ``names`` that a detector has, or None."""
    return next((name for name in names if getattr(model, name, None) is not None), None)


def matches_head(head: nn.Module | None, known: tuple[str, ...]) -> bool:
    """Whether a head computes what one of the ``known`` classes computes.

    Args:
        head (nn.Module, optional): The head; None matches nothing.
        known (tuple[str]): Class names. A subclass matches as long as it does not override
            ``forward`` or ``forward_single``, and is no student of a teacher.
    """
    if any(base.__name__ in STUDENTS for base in type(head).__mro__):
        return False
    base = next((base for base in type(head).__mro__ if base.__name__ in known), None)
    return base is not None and all(
        getattr(type(head), name, None) is getattr(base, name, None) for name in FORWARD_METHODS
    )
