"""The matrix products of two activations inside of an attention, with quantized operands.

An attention multiplies queries with keys, and weights with values, by functions of torch. Its class
becomes one that runs the same code and quantizes both operands of each product on the way.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmptq.quantization.fake_quantizer import FakeQuantizer
from mmptq.quantization.scheme import QScheme

# Functions that multiply, and the position of their left operand.
PRODUCTS = {
    torch.matmul: 0,
    torch.bmm: 0,
    torch.baddbmm: 1,
    Tensor.matmul: 0,
    Tensor.bmm: 0,
    Tensor.baddbmm: 1,
    Tensor.__matmul__: 0,
}


class ProductQuantizers(nn.ModuleList):
    """Quantizers ``left`` and ``right`` of all products of an attention, in order."""

    def operands(self, index: int, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Operands of the product with this index; those beyond the last stay float."""
        if index >= len(self):
            return left, right
        return self[index]['left'](left), self[index]['right'](right)


class ProductCount(nn.Module):
    """Stands in for ``ProductQuantizers`` to find out how many products there are.

    Attributes:
        count (int): The most products in one call.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def operands(self, index: int, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Count; the operands stay as they are."""
        self.count = max(self.count, index + 1)
        return left, right


class _Watch(TorchFunctionMode):
    """Passes the operands of every product of two activations to ``products``."""

    def __init__(self, products: ProductQuantizers | ProductCount):
        super().__init__()
        self.products = products
        self.index = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None):
        start = PRODUCTS.get(func)
        if start is not None and len(args) >= start + 2:
            operands = args[start : start + 2]
            if not any(isinstance(x, nn.Parameter) for x in operands):
                operands = self.products.operands(self.index, *operands)
                args = (*args[:start], *operands, *args[start + 2 :])
                self.index += 1
        return func(*args, **(kwargs or {}))


class QuantProducts:
    """An attention that quantizes the operands of its products.

    Like a quantized layer it is never constructed: ``attach_products`` assigns the class.

    Attributes:
        products (ProductQuantizers): One pair of quantizers per product.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """See the float attention."""
        with _Watch(self.products):
            return super().forward(*args, **kwargs)

    def __reduce_ex__(self, protocol: int) -> tuple:
        """Pickle by the float type: classes of attentions with products are made while running."""
        make, args, *state = super().__reduce_ex__(protocol)
        float_type = float_products_type(type(self))
        args = tuple(float_type if arg is type(self) else arg for arg in args)
        return _empty, (make, args), *state


def attach_products(attention: nn.Module, products: nn.Module) -> None:
    """Let an attention quantize the operands of its products, in place."""
    own = next((x.device for x in attention.parameters()), torch.device('cpu'))
    attention.add_module('products', products.to(own))
    attention.__class__ = products_type(type(attention))


def detach_products(attention: nn.Module) -> None:
    """Undo ``attach_products``."""
    del attention.products
    attention.__class__ = float_products_type(type(attention))


def make_products(left: QScheme, right: QScheme, count: int) -> ProductQuantizers:
    """Quantizers of so many products, with one scale per operand."""
    schemes = dict(left=left, right=right)
    return ProductQuantizers(
        nn.ModuleDict({slot: FakeQuantizer(scheme) for slot, scheme in schemes.items()})
        for _ in range(count)
    )


def products_type(float_type: type) -> type:
    """The version of an attention class that quantizes its products."""
    if float_type not in _TYPES:
        _TYPES[float_type] = type(f'Quant{float_type.__name__}', (QuantProducts, float_type), {})
    return _TYPES[float_type]


def float_products_type(kind: type) -> type:
    """Inverse of ``products_type``."""
    return next(known for known, found in _TYPES.items() if found is kind)


def product_quantizers(model: nn.Module) -> dict[str, FakeQuantizer]:
    """Quantizers of the operands of all products by name: ``ATTENTION.products.0.left``."""
    return {
        f'{name}.products.{index}.{slot}': quantizer
        for name, module in model.named_modules()
        if isinstance(module, QuantProducts)
        for index, pair in enumerate(module.products)
        for slot, quantizer in pair.items()
    }


_TYPES: dict[type, type] = {}


def _empty(make: Any, args: tuple) -> nn.Module:
    """An empty attention with products, which its pickled state fills."""
    attention = make(*args)
    attention.__class__ = products_type(type(attention))
    return attention
