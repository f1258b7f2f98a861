"""Quantized state dicts that no loader takes for float ones."""

from collections import OrderedDict
from typing import Any

# An ordinary state dict keeps a dict of the versions of its modules in this attribute, and every
# loader of torch and mmengine asks it for each module: a tuple in its place stops all of them.
ATTRIBUTE = '_metadata'
NOTICE = 'quantized by mmptq: import mmptq before these weights are loaded into a model'


def seal(state: OrderedDict, description: dict[str, Any]) -> None:
    """Make a state dict describe itself, in place; loading it without mmptq raises an error.

    Args:
        state (OrderedDict): A packed state dict.
        description (dict): Plain data on how the model is quantized and its weights are packed.

    Note:
        All of it is plain data and the keys are ordinary ones, so that the file can be read
        anywhere. A loader of torch or mmengine stops with "'tuple' object has no attribute 'get'".
    """
    versions = getattr(state, ATTRIBUTE, None)
    setattr(state, ATTRIBUTE, (NOTICE, dict(description, versions=versions)))


def description_of(state: Any) -> dict[str, Any] | None:
    """The description of a sealed state dict, or None."""
    sealed = getattr(state, ATTRIBUTE, None)
    return sealed[1] if isinstance(sealed, tuple) and sealed[:1] == (NOTICE,) else None


def unseal(state: OrderedDict) -> dict[str, Any] | None:
    """Turn a sealed state dict into an ordinary one, in place.

    Returns:
        dict: The description, or None where it was not sealed.
    """
    description = description_of(state)
    if description is None:
        return None
    versions = description.get('versions')
    if versions is None:
        delattr(state, ATTRIBUTE)
    else:
        # Without the versions mmdet3d would permute the kernels of spconv 2 on loading.
        setattr(state, ATTRIBUTE, versions)
    return {key: value for key, value in description.items() if key != 'versions'}
