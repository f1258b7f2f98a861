"""The stage that finds ranges from what it observes, layer by layer, in the float model."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.ptq import parallel
from mmptq.ptq.checks.diagnosis import ChannelSpread, diagnose
from mmptq.ptq.context import PTQContext
from mmptq.ptq.layer_state import LayerState
from mmptq.ptq.set_scheme import detach, detach_product
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    QuantMixin,
    choose_qparams,
    product_quantizers,
    quantizers_off,
)
from mmptq.utils.hooks import temporary_hooks

from .observing import merge_observers, observe
from .stage import FLOAT_MODEL, RANGES, UNLEARNED, Stage

NO_DATA = 'received no calibration data'


@TASK_UTILS.register_module()
class Calibrator(Stage):
    """Observes weights and float activations, and sets scales and zero points from them.

    Several processes observe a part of the samples each, put together what they saw, and search a
    part of the scales each. The scales are those of one process, bit by bit, unless the observer
    says otherwise.

    Args:
        weight_observer (dict): Config of the observer of weights.
        act_observer (dict): Config of the observer of layer inputs.
        warn (bool): Whether layer inputs with a coarse step are reported. Defaults to True.

    Example:
        >>> stages = [dict(type='Calibrator', act_observer=dict(type='LpObserver', p=2.0))]
    """

    needs = frozenset({FLOAT_MODEL, UNLEARNED})
    gives = frozenset({RANGES})

    def __init__(
        self,
        weight_observer: dict[str, Any] = dict(type='MinMaxObserver'),  # noqa: B006 (never changed)
        act_observer: dict[str, Any] = dict(type='MinMaxObserver'),  # noqa: B006
        warn: bool = True,
    ):
        for cfg in (weight_observer, act_observer):
            _check_type(cfg)
        self.weight_observer = weight_observer
        self.act_observer = act_observer
        self.warn = warn

    def run(self, ctx: PTQContext) -> None:
        """Calibrate every quantizer of the model; one pass over the calibration data."""
        spread = self.calibrate(ctx, ctx.layers, product_quantizers(ctx.model))
        if self.warn:
            diagnose(ctx, spread)

    def calibrate(
        self,
        ctx: PTQContext,
        names: Iterable[str],
        products: dict[str, FakeQuantizer] | None = None,
    ) -> ChannelSpread:
        """Calibrate the quantizers of some layers.

        Args:
            ctx (PTQContext): The run.
            names (Iterable[str]): Names of quantized layers.
            products (dict, optional): Quantizers of operands of products by name, which are
                calibrated, too. Defaults to none.

        Returns:
            ChannelSpread: What the channels of their inputs hold.
        """
        layers = [(ctx.layers[name], ctx.layers[name].module) for name in names]
        self._calibrate_weights(layers)
        return self._calibrate_inputs(ctx, layers, products or {})

    @torch.no_grad()
    def _calibrate_weights(self, layers: list[tuple[LayerState, QuantMixin]]) -> None:
        layers = [
            (unit, layer)
            for unit, layer in layers
            if isinstance(layer.weight_quantizer, FakeQuantizer)
        ]

        def search(index: int) -> tuple[Tensor, Tensor]:
            unit, layer = layers[index]
            observer = _build(self.weight_observer, layer.weight_quantizer, unit)
            observe(observer, layer.weight.detach(), unit.name, 'weight')
            return observer.qparams()

        sizes = [layer.weight.numel() for _, layer in layers]
        _set_scales([layer.weight_quantizer for _, layer in layers], search, sizes)

    @torch.no_grad()
    def _calibrate_inputs(
        self,
        ctx: PTQContext,
        layers: list[tuple[LayerState, QuantMixin]],
        products: dict[str, FakeQuantizer],
    ) -> ChannelSpread:
        observers, hooks = {}, {}
        lowest: dict[str, float] = {}
        states = [(unit, layer.input_quantizer) for unit, layer in layers]
        states += [(LayerState(name, quantizer), quantizer) for name, quantizer in products.items()]
        for unit, quantizer in states:
            if isinstance(quantizer, FakeQuantizer):
                observer = _build(self.act_observer, quantizer, unit)
                observers[unit.name] = (observer, quantizer)
                hooks[quantizer] = _hook(observer, unit.name, lowest)
        spread = ChannelSpread()
        with (
            quantizers_off(ctx.model),
            temporary_hooks(before=hooks),
            temporary_hooks(before=spread.hooks(layers)),
        ):
            for data in ctx.batches('calibrate'):
                ctx.predict(data)
        merge_observers([observer for observer, _ in observers.values()])
        blind = [name for name, (observer, _) in observers.items() if not observer.seen]
        for name in blind:
            del observers[name]
            (detach_product if name in products else detach)(ctx, name, NO_DATA)
            ctx.logger.warning(f"'{name}' stays float: it {NO_DATA}")
        if blind and not ctx.layers:
            raise QuantizationError(
                f"'{blind[0]}' {NO_DATA}, and no other layer is left to quantize: check the "
                'calibration samples'
            )
        found, quantizers = zip(*observers.values(), strict=True) if observers else ((), ())
        ranges = [getattr(ctx.layers.get(name), 'input_range', None) for name in observers]

        def search(index: int) -> tuple[Tensor, Tensor]:
            if ranges[index] is None:
                return found[index].qparams()
            ends = (quantizers[index].scale.new_tensor([end]) for end in ranges[index])
            return choose_qparams(*ends, quantizers[index].scheme)

        _set_scales(quantizers, search, [1] * len(found))
        _report_clipped(ctx, lowest)
        return spread


def _check_type(cfg: dict[str, Any]) -> None:
    if cfg.get('type') not in TASK_UTILS:
        known = sorted(name for name in TASK_UTILS.module_dict if name.endswith('Observer'))
        raise QuantizationError(
            f"there is no observer '{cfg.get('type')}': use one of {', '.join(known)}"
        )


def _build(cfg: dict[str, Any], quantizer: FakeQuantizer, unit: LayerState):
    cfg = dict(cfg, scheme=quantizer.scheme)
    takes_p = 'p' in inspect.signature(TASK_UTILS.get(cfg['type'])).parameters
    if unit.p is not None and takes_p:
        cfg['p'] = unit.p
    return TASK_UTILS.build(cfg)


def _set_scales(
    quantizers: Sequence[FakeQuantizer],
    search: Callable[[int], tuple[Tensor, Tensor]],
    sizes: Sequence[float],
) -> None:
    """Set scales and zero points; each process searches those of some quantizers."""
    own = {index: tuple(x.cpu() for x in search(index)) for index in parallel.fair_shares(sizes)}
    for found in parallel.gather(own):
        for index, qparams in found.items():
            quantizers[index].set_qparams(*qparams)


def _report_clipped(ctx: PTQContext, lowest: dict[str, float]) -> None:
    """Warn where an unsigned symmetric grid meets negative values."""
    parts = parallel.gather(lowest)
    for name in sorted(set().union(*parts)):
        least = min(part.get(name, 0.0) for part in parts)
        if least < 0:
            ctx.logger.warning(
                f"the unsigned symmetric input of '{name}' clips negative values, down to "
                f'{least:.3g}, to 0: use symmetric=False or signed=None in quantizer.act, or in a '
                'rule for this layer'
            )


def _hook(observer, name: str, lowest: dict[str, float]) -> Callable:
    def hook(module, args):
        x = args[0].detach()
        observe(observer, x, name, 'input')
        if module.scheme.symmetric and module.scheme.signed is False and x.numel():
            lowest[name] = min(lowest.get(name, 0.0), x.min().item())

    return hook
