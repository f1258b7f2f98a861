"""Images of several cameras, as batches hold them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def unshared_images(data: dict[str, Any]) -> dict[str, Any]:
    """A batch whose images a model may reshape in place, as PETR does, without changing it.

    Args:
        data (dict): With ``inputs``; images of several cameras are ``inputs['imgs']``.
    """
    inputs = data.get('inputs')
    if not (isinstance(inputs, Mapping) and isinstance(inputs.get('imgs'), Tensor)):
        return data
    return {**data, 'inputs': {**inputs, 'imgs': inputs['imgs'].detach()}}
