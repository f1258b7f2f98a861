"""Building what a stage is made of from its config."""

from typing import Any, TypeVar

from mmengine.registry import Registry

from mmptq.utils.errors import QuantizationError

Component = TypeVar('Component')


def build_component(
    cfg: dict[str, Any], where: str, registry: Registry, base: type[Component]
) -> Component:
    """An object from its config, checked to be what the stage needs.

    Args:
        cfg (dict): ``type`` and the arguments.
        where (str): The stage's argument that holds it, for messages.
        registry (Registry): Where the type is looked up.
        base (type): What the object has to be.

    Raises:
        QuantizationError: If the type is unknown or no subclass of ``base``.
    """
    options = dict(cfg)
    kind = options.pop('type', None)
    cls = _find(kind, registry) if isinstance(kind, str) else kind
    if not isinstance(cls, type):
        raise QuantizationError(
            f'{where}.type={kind!r} is unknown: check the name, and that custom_imports imports '
            'its file'
        )
    if not issubclass(cls, base):
        raise QuantizationError(
            f'{where}.type={kind!r} cannot be used here: use a subclass of '
            f'{base.__module__}.{base.__name__}'
        )
    return cls(**options)


def _find(kind: str, registry: Registry) -> Any:
    """Look a type up as ``registry.build`` does: in the default scope first, as of a runner."""
    with registry.switch_scope_and_registry(None) as current:
        return current.get(kind)
