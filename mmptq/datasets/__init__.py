"""Transforms that mmdet and mmdet3d do not have."""

from importlib.util import find_spec

__all__ = []

if find_spec('mmdet3d') is not None:
    from .append_box_velocity import AppendBoxVelocity  # noqa: F401

    __all__ += ['AppendBoxVelocity']
