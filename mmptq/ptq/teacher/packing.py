"""Targets of task losses as nested tensors, which an activation cache can keep."""

import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor


@dataclass
class _Packed:
    """The kind of a packed object and everything but its tensors.

    Attributes:
        kind (str): 'dataclass', 'element' (data samples and instances) or 'boxes'.
        template (Any): The class of a dataclass, else the object without its tensors.
    """

    kind: str
    template: Any


def pack(data: Any) -> Any:
    """Nested data with dataclasses, data samples, instances and boxes taken apart.

    Args:
        data (Any): Nested tuples, lists and dicts of these and of tensors. Anything else is kept
            as it is.
    """
    if isinstance(data, dict):
        return {key: pack(value) for key, value in data.items()}
    if type(data) in (list, tuple):
        return type(data)(map(pack, data))
    if isinstance(data, BaseDataElement):
        content = {key: pack(value) for key, value in data.items()}
        return _Packed('element', _without_data(data)), content
    if is_dataclass(data) and not isinstance(data, type):
        content = {field.name: pack(getattr(data, field.name)) for field in fields(data)}
        return _Packed('dataclass', type(data)), content
    if not isinstance(data, Tensor) and isinstance(getattr(data, 'tensor', None), Tensor):
        template = copy.copy(data)
        template.tensor = data.tensor[:0].clone()
        return _Packed('boxes', template), data.tensor
    return data


def unpack(data: Any) -> Any:
    """Inverse of ``pack``."""
    if isinstance(data, dict):
        return {key: unpack(value) for key, value in data.items()}
    if isinstance(data, tuple) and data and isinstance(data[0], _Packed):
        packed, content = data
        return _restore(packed, unpack(content))
    if type(data) in (list, tuple):
        return type(data)(map(unpack, data))
    return data


def _restore(packed: _Packed, content: Any) -> Any:
    if packed.kind == 'dataclass':
        return packed.template(**content)
    if packed.kind == 'element':
        element = _without_data(packed.template)
        element.set_data(content)
        return element
    boxes = copy.copy(packed.template)
    boxes.tensor = content
    return boxes


def _without_data(element: BaseDataElement) -> BaseDataElement:
    """The same kind of element with the same meta information; nothing is copied."""
    result = type(element)()
    for key, value in element.metainfo_items():
        result.set_field(value, key, field_type='metainfo')
    return result
