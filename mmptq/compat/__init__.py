"""Patches of other packages; docs/development/compat.md lists them with reason and switch."""
