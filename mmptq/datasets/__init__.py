"""Dataset parts that the stock packages lack; ordinary mmdet components."""

from importlib.util import find_spec

__all__ = []

if find_spec('mmdet3d') is not None:
    from .append_box_velocity import AppendBoxVelocity

    __all__ += ['AppendBoxVelocity']
