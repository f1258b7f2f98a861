"""The stage that gives the channels of a layer input the range of one grid."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.search.channel_factors import (
    bits_gained,
    channel_factors,
    channel_widths,
    trial_error,
)
from mmptq.ptq.set_scheme import multiplier_problem, set_multiplier
from mmptq.quantization import (
    FakeQuantizer,
    QScheme,
    QuantizationError,
    QuantMixin,
    quantizers_off,
)
from mmptq.utils.globs import match
from mmptq.utils.hooks import temporary_hooks

from .observing import merge_observers, observe
from .stage import FLOAT_MODEL, RANGES, UNLEARNED, Stage

ALPHAS = (0.25, 0.5, 0.75, 1.0)
# The search tries factors on this many calibration samples.
SEARCH_SAMPLES = 4
# Factors have to bring the squared error of a layer's output below this share of that without.
WORTHWHILE = 0.8


@TASK_UTILS.register_module()
class ChannelMultiplier(Stage):
    """Multiplies chosen layer inputs by channel, so that one scale per tensor suits all channels.

    The layer computes ``Q(x * m) * Q(w / m)``, with a factor m for each input channel: what it
    computes stays, and every engine can run it. Depthwise convolutions need it most. Their channels
    never mix, so training may leave one with a range of 0.2 next to one of 120, and on one 8-bit
    scale the small ones vanish. With the factors they have what one scale per channel would give.
    Unlike :class:`CrossLayerEqualization` it passes any activation and concatenation, at the price
    of one multiplication, which engines compute together with what comes before.

    Put it before the stage that calibrates: it changes weights, and ranges with them. Layers with
    less to gain than ``min_gain``, and those that share their weight, are left alone.

    Note:
        The idea is that of SmoothQuant (https://arxiv.org/abs/2211.10438); there factors go into
        the normalisation before, and weights are weighed, too.

    Args:
        depthwise (bool): Whether all depthwise convolutions get it. Defaults to True.
        layers (Sequence[str]): Globs of other layers that may get it. Defaults to ().
        alpha (float, optional): 1 evens the channels out, 0 leaves them. The default None is 1
            for depthwise convolutions; for others the layer's output error decides between 0, 0.25,
            0.5, 0.75 and 1.
        min_gain (float): Bits that one scale per tensor must leave unused, on the mean of the
            channels of a depthwise convolution. Defaults to 1.0.
        observer (dict): Config of the observer that finds the range of each channel.

    Example:
        >>> stages = [dict(type='ChannelMultiplier'), dict(type='Calibrator')]
        >>> stages = [dict(type='ChannelMultiplier', layers=['neck.*']), dict(type='Calibrator')]
    """

    needs = frozenset({FLOAT_MODEL, UNLEARNED})
    breaks = frozenset({RANGES})

    def __init__(
        self,
        depthwise: bool = True,
        layers: Sequence[str] = (),
        alpha: float | None = None,
        min_gain: float = 1.0,
        observer: dict[str, Any] = dict(type='LpObserver', p=2.0),  # noqa: B006 (never changed)
    ):
        if alpha is not None and not 0 < alpha <= 1:
            raise QuantizationError(
                f'ChannelMultiplier got alpha={alpha!r}: use a share above 0 and up to 1, or None'
            )
        self.depthwise = depthwise
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        self.alpha = alpha
        self.min_gain = min_gain
        self.observer = observer

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Find the factors of every chosen layer and set them."""
        chosen = self._chosen(ctx)
        ends = self._ranges(ctx, chosen)
        widths = {
            name: channel_widths(*ends[name], chosen[name].input_quantizer.scheme) for name in ends
        }
        gains = {name: bits_gained(*ends[name], widths[name]) for name in ends}
        alphas = {name: self.alpha or 1.0 for name in ends if gains[name] >= self.min_gain}
        if self.alpha is None:
            searched = {name: layer for name, layer in chosen.items() if not is_depthwise(layer)}
            alphas.update(_search(ctx, searched, ends, widths))
        rows = []
        for name, alpha in alphas.items():
            if alpha:
                factors = channel_factors(widths[name], alpha)
                set_multiplier(ctx, name, factors)
                ratio = (factors.max() / factors.min()).item()
                rows.append(dict(layer=name, alpha=alpha, bits=gains[name], ratio=ratio))
        ctx.record('channel_multipliers', rows)
        ctx.logger.info(
            f'{len(rows)} of {len(chosen)} layer inputs are multiplied by channel '
            f'(largest ratio of factors {max([1.0, *(row["ratio"] for row in rows)]):.3g})'
        )

    def _chosen(self, ctx: PTQContext) -> dict[str, QuantMixin]:
        """Layers that may get factors, by name, in order of execution."""
        asked = match(self.layers, ctx.layers, 'ChannelMultiplier.layers') if self.layers else []
        chosen = {}
        for plan in ctx.plan.layers:
            state = ctx.layers.get(plan.name)
            if state is None or not _one_scale(state.module):
                continue
            layer = state.module
            if plan.name in asked or (self.depthwise and is_depthwise(layer)):
                problem = multiplier_problem(ctx, plan.name)
                if problem is None:
                    set_multiplier(ctx, plan.name, None)
                    chosen[plan.name] = layer
                else:
                    ctx.logger.info(f"'{plan.name}' gets no channel multiplier: {problem}")
        return chosen

    def _ranges(
        self, ctx: PTQContext, layers: dict[str, QuantMixin]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Lower and upper end (C,) of each channel of each layer input that was seen."""
        observers, hooks = {}, {}
        for name, layer in layers.items():
            bits = layer.input_quantizer.scheme.bits
            scheme = QScheme(bits=bits, channel_axis=layer.channel_axis)
            observers[name] = TASK_UTILS.build(dict(self.observer, scheme=scheme))
            hooks[layer.input_quantizer] = _hook(observers[name], name)
        if layers:
            with quantizers_off(ctx.model), temporary_hooks(before=hooks):
                for data in ctx.batches('channel ranges'):
                    ctx.predict(data)
        merge_observers(observers.values())
        return _ends({name: found for name, found in observers.items() if found.seen})


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each input channel of a convolution meets filters of its own."""
    return getattr(layer, 'groups', 1) > 1 and layer.groups == layer.in_channels


def _one_scale(layer: QuantMixin) -> bool:
    quantizer = layer.input_quantizer
    return isinstance(quantizer, FakeQuantizer) and quantizer.scheme.channel_axis is None


def _hook(observer: Any, name: str) -> Callable:
    return lambda module, args: observe(observer, args[0].detach(), name, 'input')


def _ends(observers: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """Ends of the channels; each process searches those of some layers."""
    names = list(observers)
    own = {}
    for index in parallel.fair_shares([1] * len(names)):
        scale, zero_point = observers[names[index]].qparams()
        scheme = observers[names[index]].scheme
        ends = ((end - zero_point) * scale for end in (scheme.qmin, scheme.qmax))
        own[index] = tuple(end.cpu() for end in ends)
    found = {index: ends for part in parallel.gather(own) for index, ends in part.items()}
    return {name: found[index] for index, name in enumerate(names)}


def _search(
    ctx: PTQContext,
    layers: dict[str, QuantMixin],
    ends: dict[str, tuple[Tensor, Tensor]],
    widths: dict[str, Tensor],
) -> dict[str, float]:
    """The share alpha with the smallest error of each layer's output; 0 where none is worth it."""
    names = {layer: name for name, layer in layers.items() if name in ends}
    errors = {
        name: torch.zeros(1 + len(ALPHAS), dtype=torch.float64, device='cpu')
        for name in names.values()
    }
    factors = {
        name: [channel_factors(widths[name], alpha) for alpha in (0.0, *ALPHAS)] for name in errors
    }

    def hook(layer: QuantMixin, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        name = names[layer]
        for index, candidate in enumerate(factors[name]):
            errors[name][index] += trial_error(
                layer, (args, kwargs), output, candidate.to(output.device), ends[name]
            )

    if names:
        with quantizers_off(ctx.model), ExitStack() as stack:
            for layer in names:
                handle = layer.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            for data in ctx.batches('channel factors', SEARCH_SAMPLES):
                ctx.predict(data)
    alphas = {}
    for name, error in errors.items():
        parallel.sum_(error)
        best = int(error.argmin())
        alphas[name] = (0.0, *ALPHAS)[best] if error[best] < WORTHWHILE * error[0] else 0.0
    return alphas
