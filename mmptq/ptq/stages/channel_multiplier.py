"""The stage that gives the channels of a layer input the range of one grid."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.ptq.search.channel_grid import (
    NUM_VALUES,
    ChannelGrid,
    factors_by_share,
    find_grid,
    sampled_rows,
)
from mmptq.ptq.search.layer_trial import trial_error
from mmptq.ptq.set_scheme import multiplier_problem, set_multiplier
from mmptq.quantization import (
    FakeQuantizer,
    QuantizationError,
    QuantMixin,
    quantizers_off,
)
from mmptq.utils.globs import match
from mmptq.utils.hooks import temporary_hooks

from .stage import FLOAT_MODEL, RANGES, UNLEARNED, Stage

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

    Factors, zero point and range of the input are found together, so that the error of every
    channel is small against its own variance; the stage that calibrates keeps that range (on a
    range for all channels together, those with much would clip those with little).

    Put it before the stage that calibrates: it changes weights, and ranges with them. Layers with
    less to gain than ``min_gain``, and those that share their weight, are left alone.

    Note:
        The idea is that of SmoothQuant (https://arxiv.org/abs/2211.10438); there factors go into
        the normalisation before, and weights are weighed, too.

    Args:
        depthwise (bool): Whether all depthwise convolutions get it. Defaults to True.
        layers (Sequence[str]): Globs of other layers that may get it. Defaults to ().
        alpha (float, optional): 1 evens the channels out, 0 leaves them. The default None is 1
            for depthwise convolutions; for others the layer's output error decides, also between
            factors that even out the weights (``factors_by_share``).
        min_gain (float): Bits that one scale per tensor must leave unused, on the mean of the
            channels of a depthwise convolution. Defaults to 1.0.
        extremes (bool): Whether the rarest values of each channel count when its range is found:
            in some networks they are the objects, in others outliers. Defaults to False.

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
        extremes: bool = False,
    ):
        if alpha is not None and not 0 < alpha <= 1:
            raise QuantizationError(
                f'ChannelMultiplier got alpha={alpha!r}: use a share above 0 and up to 1, or None'
            )
        self.depthwise = depthwise
        self.layers = [layers] if isinstance(layers, str) else list(layers)
        self.alpha = alpha
        self.min_gain = min_gain
        self.extremes = extremes

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Find the factors of every chosen layer and set them."""
        chosen = self._chosen(ctx)
        grids = _find_grids(_sample(ctx, chosen, self.extremes), chosen)
        found = {
            name: ((self.alpha or 1.0, 0.0), grid.factors(self.alpha or 1.0))
            for name, grid in grids.items()
            if grid.unused >= self.min_gain
        }
        if self.alpha is None:
            others = {name: chosen[name] for name in grids if not is_depthwise(chosen[name])}
            found = {name: pair for name, pair in found.items() if name not in others}
            found.update(_search(ctx, others, grids))
        rows = []
        for name in (name for name in grids if name in found):
            grid, (shares, factors) = grids[name], found[name]
            set_multiplier(ctx, name, factors)
            if shares == (1.0, 0.0):
                scheme = chosen[name].input_quantizer.scheme
                ctx.layers[name].input_range = grid.ends(scheme, factors)
            ratio = (factors.max() / factors.min()).item()
            alpha, beta = shares
            rows.append(
                dict(layer=name, alpha=alpha, beta=beta, unused_bits=grid.unused, ratio=ratio)
            )
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


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each input channel of a convolution meets filters of its own."""
    return getattr(layer, 'groups', 1) > 1 and layer.groups == layer.in_channels


def _one_scale(layer: QuantMixin) -> bool:
    quantizer = layer.input_quantizer
    return isinstance(quantizer, FakeQuantizer) and quantizer.scheme.channel_axis is None


def _sample(ctx: PTQContext, layers: dict[str, QuantMixin], extremes: bool) -> dict[str, Tensor]:
    """Values (C, K) of the input channels of each layer that runs, from all samples."""
    count = -(-NUM_VALUES // max(1, len(ctx.loader)))
    batches: list[dict[str, list[Tensor]]] = []

    def hook(name: str, layer: QuantMixin) -> Callable:
        def take(module: nn.Module, args: tuple) -> None:
            rows = sampled_rows(args[0], layer.channel_axis, count, extremes)
            batches[-1].setdefault(name, []).append(rows)

        return take

    hooks = {layer.input_quantizer: hook(name, layer) for name, layer in layers.items()}
    if layers:
        with quantizers_off(ctx.model), temporary_hooks(before=hooks):
            for data in ctx.batches('channel ranges'):
                batches.append({})
                ctx.predict(data)
    found: dict[str, list[Tensor]] = {}
    for batch in parallel.gather_shards(batches):
        for name, rows in batch.items():
            found.setdefault(name, []).extend(rows)
    rows = {name: torch.cat(found[name], 1) for name in layers if name in found}
    return {name: x for name, x in rows.items() if x.shape[1]}


def _find_grids(rows: dict[str, Tensor], layers: dict[str, QuantMixin]) -> dict[str, ChannelGrid]:
    """Steps and zero point of each layer input; each process searches those of some."""
    names, own = list(rows), {}
    for index in parallel.fair_shares([x.numel() for x in rows.values()]):
        name = names[index]
        own[name] = vars(find_grid(rows[name], layers[name].input_quantizer.scheme))
    found = {name: grid for part in parallel.gather(own) for name, grid in part.items()}
    grids = {name: ChannelGrid(**found[name]) for name in names}
    return {name: grid for name, grid in grids.items() if bool((grid.steps > 0).any())}


def _search(
    ctx: PTQContext, layers: dict[str, QuantMixin], grids: dict[str, ChannelGrid]
) -> dict[str, tuple[tuple[float, float], Tensor]]:
    """Shares and factors with the smallest error of each layer's output, where that is worth it."""
    names = {layer: name for name, layer in layers.items()}
    tried = {name: factors_by_share(layer, grids[name]) for name, layer in layers.items()}
    errors = {
        name: torch.zeros(len(found), dtype=torch.float64, device='cpu')
        for name, found in tried.items()
    }

    def hook(layer: QuantMixin, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        name = names[layer]
        for index, factors in enumerate(tried[name].values()):
            ends = grids[name].ends(layer.input_quantizer.scheme, factors)
            factors = factors.to(output.device)
            errors[name][index] += trial_error(layer, (args, kwargs), output, factors, ends)

    if names:
        with quantizers_off(ctx.model), ExitStack() as stack:
            for layer in names:
                handle = layer.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            for data in ctx.batches('channel factors', SEARCH_SAMPLES):
                ctx.predict(data)
    best = {}
    for name, error in errors.items():
        parallel.sum_(error)
        index = int(error.argmin())
        if error[index] < WORTHWHILE * error[0]:
            best[name] = list(tried[name].items())[index]
    return best
