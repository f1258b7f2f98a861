"""What is folded and quantized in a model, decided without changing it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmptq.compat.env import require_spconv
from mmptq.quantization.graph.fold_bn import find_foldable
from mmptq.quantization.graph.split_attention import split_attention
from mmptq.quantization.graph.trace_samples import trace_samples
from mmptq.quantization.layers import QUANT_LAYERS, QuantMixin
from mmptq.utils.errors import QuantizationError

from .float_parts import find_float_parts, find_unsupported
from .placement import NEVER_EXECUTED, LayerPlan, place
from .product_plan import ProductPlan, place_products
from .scheme import QScheme

PLAN_VERSION = 2
# Checkpoints of version 1 hold float weights in place of packed integers, and the same plan.
READABLE_VERSIONS = (1, PLAN_VERSION)


@dataclass
class QuantPlan:
    """Everything that turns a freshly built float model into the quantized one.

    Attributes:
        layers (list[LayerPlan]): Layers that have a quantized version, quantized or not.
        folded (list[tuple[str, str]]): (layer, BatchNorm) pairs that are folded.
        unfolded (dict[str, str]): BatchNorms that stay, and why.
        unsupported (dict[str, str]): Weighted layers without a quantized version, and their type.
        float_parts (dict[str, tuple[str, str]]): Modules that compute in float by design, their
            type and the reason; not stored in a checkpoint.
        products (dict[str, ProductPlan]): Attentions with quantized products of two activations.
        samples (tuple[int]): Calibration samples on which, together, every planned layer runs; not
            stored in a checkpoint.
    """

    layers: list[LayerPlan] = field(default_factory=list)
    folded: list[tuple[str, str]] = field(default_factory=list)
    unfolded: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    samples: tuple[int, ...] = field(default=(0,), compare=False)
    float_parts: dict[str, tuple[str, str]] = field(default_factory=dict, compare=False)
    products: dict[str, ProductPlan] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the meta of a checkpoint."""
        products = {name: product.to_dict() for name, product in self.products.items()}
        return dict(
            version=PLAN_VERSION,
            layers=[
                dict(
                    name=plan.name,
                    kind=plan.kind,
                    weight=plan.weight and plan.weight.to_dict(),
                    act=plan.act and plan.act.to_dict(),
                    reason=plan.reason,
                    **({'multiplier': True} if plan.multiplier else {}),
                )
                for plan in self.layers
            ],
            folded=[list(pair) for pair in self.folded],
            unfolded=dict(self.unfolded),
            unsupported=dict(self.unsupported),
            **({'products': products} if products else {}),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> 'QuantPlan':
        """Inverse of ``to_dict``."""
        if data.get('version') not in READABLE_VERSIONS:
            raise QuantizationError(
                f'the checkpoint has version {data.get("version")!r} of the quantizer description '
                f'and this mmptq reads versions up to {PLAN_VERSION}: quantize again, or install '
                'a newer mmptq'
            )
        layers = [
            LayerPlan(
                item['name'],
                item['kind'],
                item['weight'] and QScheme(**item['weight']),
                item['act'] and QScheme(**item['act']),
                item['reason'],
                item.get('multiplier', False),
            )
            for item in data['layers']
        ]
        folded = [tuple(pair) for pair in data['folded']]
        products = data.get('products', {})
        products = {name: ProductPlan.from_dict(item) for name, item in products.items()}
        return cls(layers, folded, data['unfolded'], data['unsupported'], products=products)


def make_plan(
    model: nn.Module,
    quantizer: dict[str, Any],
    run: Callable[[], Any],
    further_runs: Iterable[Callable[[], Any]] = (),
) -> QuantPlan:
    """Decide what is folded and quantized, without changing what the model computes.

    Torch's attention gets layers in place of its input projections, see ``split_attention``.

    Args:
        model (nn.Module): Float, in eval mode.
        quantizer (dict): See ``place``.
        run (Callable): Runs the model on one sample; it shows the order of the layers.
        further_runs (Iterable[Callable]): Run it on further samples; taken one by one, and only
            while some layer has not run. Defaults to ().

    Raises:
        QuantizationError: If the model is quantized already, or the config does not fit it.
    """
    if any(isinstance(module, QuantMixin) for module in model.modules()):
        raise QuantizationError('the model is quantized already: start from the float checkpoint')
    refuse_mmcv_sparse(model)
    for name, parameter in model.named_parameters():
        if parameter.is_inference():
            raise QuantizationError(
                f"'{name}' cannot be changed, because it was made in torch.inference_mode: build "
                'the model and load its weights outside of it'
            )
    split_attention(model)
    trace = trace_samples(model, tuple(QUANT_LAYERS), chain([run], further_runs))
    folded, unfolded = find_foldable(model, trace)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and name not in trace.norm_inputs:
            unfolded[name] = NEVER_EXECUTED
    layers = place(model, quantizer, trace)
    unsupported = find_unsupported(model)
    quantized = {layer.name for layer in layers if layer.quantized}
    if not quantized:
        raise QuantizationError(_nothing_quantized(layers, unsupported))
    unfolded.update((norm, f'{name} stays float') for name, norm in folded if name not in quantized)
    folded = [(name, norm) for name, norm in folded if name in quantized]
    products = place_products(model, quantizer.get('products'), run)
    parts = find_float_parts(model)
    parts = {name: part for name, part in parts.items() if name not in products}
    return QuantPlan(layers, folded, unfolded, unsupported, trace.samples, parts, products)


def _nothing_quantized(layers: list[LayerPlan], unsupported: dict[str, str]) -> str:
    """The sentence about a model in which every layer would stay float."""
    reasons = [f"'{layer.name}', {layer.reason}" for layer in layers if layer.reason]
    reasons += [f"'{name}' is a {kind}" for name, kind in unsupported.items()]
    first = f' ({reasons[0]})' if reasons else ''
    return (
        f'no layer is quantized{first}: quantizer.weight, act and rules leave none of the '
        f'{len(layers)} layers that can be'
    )


def refuse_mmcv_sparse(model: nn.Module) -> None:
    """Raise where the model was built on mmcv's own sparse convolutions."""
    for name, module in model.named_modules():
        if type(module).__module__ == 'mmcv.ops.sparse_conv':
            require_spconv(f"quantizing the sparse convolution '{name}'")
            raise QuantizationError(
                f"'{name}' is one of mmcv's own sparse convolutions, which cannot be quantized: "
                'import mmdet3d before the model is built, so that it is built on spconv'
            )
