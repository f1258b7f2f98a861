"""Patches of other packages; docs/development/compat.md lists them with reason and switch."""

from .patches import PATCHES, Patch, apply_patches, is_enabled, undo_patches

__all__ = ['PATCHES', 'Patch', 'apply_patches', 'is_enabled', 'undo_patches']
