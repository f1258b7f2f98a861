"""Which attentions have their products of two activations quantized."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmptq.utils.errors import QuantizationError
from mmptq.utils.globs import matches, no_match

from .layers.attention import float_attention
from .layers.products import ProductCount, attach_products, detach_products
from .scheme import QScheme

# Ends of the names of classes or base classes that compute an attention.
ENDINGS = ('Attention', 'MSA', 'ROIGather', 'LaneATTHead')
NOTE = 'operands of its {} products of two activations: left as input, right as weight'


@dataclass
class ProductPlan:
    """How the products of one attention are quantized.

    Attributes:
        kind (str): Class name of the float attention.
        left (QScheme): Grid of the left operands: queries, and weights of values.
        right (QScheme): Grid of the right operands: keys and values.
        count (int): How many products it computes, usually two.
    """

    kind: str
    left: QScheme
    right: QScheme
    count: int

    @property
    def note(self) -> str:
        """What the coverage table says."""
        return NOTE.format(self.count) + '; softmax stays float'

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as stored in a quantized checkpoint."""
        schemes = dict(left=self.left.to_dict(), right=self.right.to_dict())
        return dict(kind=self.kind, count=self.count, **schemes)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> 'ProductPlan':
        """Inverse of ``to_dict``."""
        left, right = (QScheme(**data[slot]) for slot in ('left', 'right'))
        return cls(data['kind'], left, right, data['count'])


def place_products(
    model: nn.Module, cfg: dict[str, Any] | None, run: Callable[[], Any]
) -> dict[str, ProductPlan]:
    """Decide which products are quantized: those of all attentions, unless the config says so.

    Args:
        model (nn.Module): Float, in eval mode.
        cfg (dict, optional): Keys of QScheme for both operands; ``right``, a dict of what differs
            for the right ones; ``float``, globs over names of attentions that are left out. None
            quantizes no product.
        run (Callable): Runs the model on one sample.

    Returns:
        dict[str, ProductPlan]: By name of the attention.

    Raises:
        QuantizationError: For an unknown key, or a glob that matches no attention.
    """
    if cfg is None:
        return {}
    cfg = dict(cfg)
    right, globs = cfg.pop('right', None) or {}, cfg.pop('float', None) or []
    schemes = (_scheme(cfg), _scheme({**cfg, **right}))
    counts = count_products(model, run)
    for glob in globs:
        if not any(matches(name, glob) for name in counts):
            raise no_match(glob, counts, 'quantizer.products.float')
    modules = dict(model.named_modules())
    return {
        name: ProductPlan(float_attention(type(modules[name])).__name__, *schemes, count)
        for name, count in counts.items()
        if not any(matches(name, glob) for glob in globs)
    }


def count_products(model: nn.Module, run: Callable[[], Any]) -> dict[str, int]:
    """Attentions that compute products of two activations, and how many, while ``run()`` runs."""
    found = {name: m for name, m in model.named_modules() if _is_attention(m)}
    # A wrapper around an attention computes none itself.
    found = {
        name: module
        for name, module in found.items()
        if not any(_is_attention(child) for child in module.modules() if child is not module)
    }
    counts = {name: ProductCount() for name in found}
    for name, module in found.items():
        attach_products(module, counts[name])
    try:
        run()
    finally:
        for module in found.values():
            detach_products(module)
    return {name: item.count for name, item in counts.items() if item.count}


def _is_attention(module: nn.Module) -> bool:
    return any(base.__name__.endswith(ENDINGS) for base in type(module).__mro__)


def _scheme(cfg: dict[str, Any]) -> QScheme:
    if cfg.get('per_channel'):
        raise QuantizationError(
            'quantizer.products has per_channel=True, and a product takes one scale per operand: '
            'leave the key out'
        )
    return QScheme.from_config(cfg, 0, 'quantizer.products')
