"""Layers with 16 bits, or in float, in place of the bits that they have."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mmengine.registry import TASK_UTILS

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.set_scheme import detach, set_scheme
from mmptq.quantization import FakeQuantizer, QScheme, quantizers_off
from mmptq.utils.hooks import temporary_hooks

WIDE = 16
SLOTS = dict(weight='weight_quantizer', input='input_quantizer')


class WideLayers:
    """Quantizers with 16 bits for all layers, calibrated on the float model by minimum and maximum.

    Where the backend runs no 16 bits, a wide layer is a float one.

    Args:
        ctx (PTQContext): Calibrated.

    Attributes:
        text (str): '16 bits', or 'float'.
    """

    def __init__(self, ctx: PTQContext):
        self.ctx = ctx
        limits = ctx.limits
        self.is_float = limits is not None and not (
            WIDE in limits.weight_bits and WIDE in limits.act_bits
        )
        self.text = 'float' if self.is_float else f'{WIDE} bits'
        self._qparams: dict[tuple[str, str], tuple] = {}

    @contextmanager
    def reverted(self, names: Sequence[str]) -> Iterator[None]:
        """Within this context these layers are wide."""
        before = []
        if not self.is_float:
            self._calibrate()
        for name in names:
            layer = self.ctx.layers[name].module
            for tensor, slot in SLOTS.items():
                quantizer = getattr(layer, slot)
                if not isinstance(quantizer, FakeQuantizer):
                    continue
                before.append((layer, slot, quantizer, quantizer.enabled))
                if self.is_float:
                    quantizer.enabled = False
                else:
                    layer.set_quantizer(tensor, wide_scheme(quantizer.scheme))
                    getattr(layer, slot).set_qparams(*self._qparams[name, tensor])
        try:
            yield
        finally:
            for layer, slot, quantizer, enabled in reversed(before):
                setattr(layer, slot, quantizer)
                quantizer.enabled = enabled

    def apply(self, names: Sequence[str], reason: str) -> None:
        """Make these layers wide for good."""
        if names and not self.is_float:
            self._calibrate()
        for name in names:
            if self.is_float:
                detach(self.ctx, name, reason)
                continue
            layer = self.ctx.layers[name].module
            schemes = {
                tensor: wide_scheme(getattr(layer, slot).scheme)
                for tensor, slot in SLOTS.items()
                if isinstance(getattr(layer, slot), FakeQuantizer)
            }
            changes = {dict(weight='weight', input='act')[t]: s for t, s in schemes.items()}
            set_scheme(self.ctx, name, **changes, reason=reason)
            for tensor in schemes:
                getattr(layer, SLOTS[tensor]).set_qparams(*self._qparams[name, tensor])

    def _calibrate(self) -> None:
        """Ranges of all tensors, once."""
        if self._qparams:
            return
        observers: dict[tuple[str, str], Any] = {}
        hooks = {}
        for name, state in self.ctx.layers.items():
            for tensor, slot in SLOTS.items():
                quantizer = getattr(state.module, slot)
                if isinstance(quantizer, FakeQuantizer):
                    config = dict(type='MinMaxObserver', scheme=wide_scheme(quantizer.scheme))
                    observers[name, tensor] = TASK_UTILS.build(config)
            if (name, 'weight') in observers:
                observers[name, 'weight'].update(state.module.weight)
            if (name, 'input') in observers:
                hooks[state.module.input_quantizer] = _hook(observers[name, 'input'])
        with quantizers_off(self.ctx.model), temporary_hooks(before=hooks):
            for data in self.ctx.batches('ranges at 16 bits'):
                self.ctx.predict(data)
        found = [o for (_, tensor), o in observers.items() if tensor == 'input']
        for states in parallel.from_others(lambda: [observer.state() for observer in found]):
            for observer, state in zip(found, states, strict=True):
                observer.merge([state])
        self._qparams = {key: observer.qparams() for key, observer in observers.items()}


def wide_scheme(scheme: QScheme) -> QScheme:
    """The same grid with 16 bits."""
    return replace(scheme, bits=WIDE)


def _hook(observer: Any):
    def hook(module, args):
        observer.update(args[0])

    return hook
