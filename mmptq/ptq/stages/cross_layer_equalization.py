"""The stage that evens out the ranges of channels without changing what the network computes."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import TASK_UTILS
from torch import Tensor, nn

from mmptq.adapters import build_adapter
from mmptq.ptq import parallel
from mmptq.ptq.context import PTQContext
from mmptq.quantization import QuantizationError, QuantMixin, quantizers_off
from mmptq.quantization.graph.channel_groups import ChannelGroup, find_channel_groups
from mmptq.quantization.layers import channel_rows
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import flatten, tensors_in

from .stage import FLOAT_MODEL, RANGES, UNLEARNED, Stage


@TASK_UTILS.register_module()
class CrossLayerEqualization(Stage):
    """Scales channels so that all of them fill the range of their tensor.

    One scale for a whole layer input leaves few levels to the channels with small values. Where
    only ReLUs, additions and poolings lie between layers, each channel can be divided by a
    positive number in the layers that write it and multiplied again in those that read it
    (section 4.1 of https://arxiv.org/abs/1906.04721, there for pairs of layers; here for all that
    share channels, whole residual stages for example). Weights pay for what inputs gain; ``alpha``
    is the share of the difference that weights take over, as in
    https://arxiv.org/abs/2211.10438::

        s[c] = max|x[c]|^alpha / max|w[:, c]|^(1 - alpha)

    Put it before the stage that calibrates: it changes weights, and ranges with them. Each group of
    layers is tried with random factors on one sample first; one whose outputs change is left alone
    and reported.

    Args:
        alpha (float): 0 evens out the weights, 1 the inputs. Defaults to 0.5.
        limit (float): Largest factor, and the inverse of the smallest one. Defaults to 32.

    Example:
        >>> stages = [dict(type='CrossLayerEqualization'), dict(type='Calibrator')]
    """

    needs = frozenset({FLOAT_MODEL, UNLEARNED})
    breaks = frozenset({RANGES})

    def __init__(self, alpha: float = 0.5, limit: float = 32.0):
        if not 0 <= alpha <= 1 or limit < 1:
            raise QuantizationError(
                f'CrossLayerEqualization got alpha={alpha!r}, limit={limit!r}: use a share from '
                '0 to 1 and a limit of at least 1'
            )
        self.alpha = alpha
        self.limit = limit

    @torch.no_grad()
    def run(self, ctx: PTQContext) -> None:
        """Scale the layers of every group that can be scaled."""
        layers = {name: unit.module for name, unit in ctx.layers.items()}
        run = _outputs(ctx)
        with quantizers_off(ctx.model):
            groups = self._usable(ctx, find_channel_groups(layers, run), layers, run)
            ranges = _input_ranges(ctx, {name for group in groups for name in group.consumers})
        rows = []
        for group in groups:
            factors = self._factors(group, layers, ranges)
            largest = max(1.0, factors.max().item(), 1 / factors.min().item())
            rows.append(dict(producers=group.producers, consumers=group.consumers, factor=largest))
            scale_channels(group, layers, factors)
        ctx.record('equalization', rows)
        ctx.logger.info(
            f'equalized {len(groups)} channel groups '
            f'(max factor {max([1.0, *(row["factor"] for row in rows)]):.3g})'
        )

    def _usable(
        self,
        ctx: PTQContext,
        groups: list[ChannelGroup],
        layers: dict[str, nn.Module],
        run: Callable[[], list[Tensor]],
    ) -> list[ChannelGroup]:
        """Groups whose channels can be scaled without a change of the outputs."""
        usable, reference = [], run()
        generator = torch.Generator('cpu').manual_seed(0)
        for group in groups:
            channels = _columns(layers[group.consumers[0]]).shape[0]
            factors = torch.rand(channels, generator=generator, device='cpu')
            factors = factors.mul_(2).sub_(1).exp2_()
            factors = factors.to(layers[group.consumers[0]].weight.device)
            states = {
                name: {k: v.clone() for k, v in layers[name].named_parameters(recurse=False)}
                for name in {*group.producers, *group.consumers, *group.depthwise}
            }
            scale_channels(group, layers, factors)
            same = parallel.agree(_agree(reference, run()))
            for name, state in states.items():
                for key, value in state.items():
                    getattr(layers[name], key).copy_(value)
            if same:
                usable.append(group)
            else:
                ctx.logger.info(
                    f'{", ".join(group.producers)}: not equalized, outputs would change'
                )
        return usable

    def _factors(
        self, group: ChannelGroup, layers: dict[str, QuantMixin], ranges: dict[str, Tensor]
    ) -> Tensor:
        """Divisor (C,) of each channel; their geometric mean is 1."""
        values = torch.stack([ranges[name] for name in group.consumers]).amax(0)
        weights = torch.stack([_columns(layers[name]).amax(1) for name in group.consumers]).amax(0)
        alive = (values > 0) & (weights > 0)
        logs = self.alpha * values.log() - (1 - self.alpha) * weights.log()
        logs = torch.where(alive, logs, 0.0)
        logs = torch.where(alive, logs - logs[alive].mean(), 0.0) if alive.any() else logs
        return logs.exp().clamp(1 / self.limit, self.limit)


def scale_channels(group: ChannelGroup, layers: dict[str, QuantMixin], factors: Tensor) -> None:
    """Divide the channels by factors where they are written, multiply where they are read.

    Args:
        group (ChannelGroup): The layers.
        layers (dict[str, QuantMixin]): All layers by name.
        factors (Tensor): (C,), positive.
    """
    for name in group.producers:
        weight, axis = layers[name].weight, layers[name].weight_axis
        weight.div_(_along(axis, factors, weight))
    for name in [*group.producers, *group.depthwise]:
        if layers[name].bias is not None:
            layers[name].bias.div_(factors)
    for name in group.consumers:
        weight, axis = layers[name].weight, 1 - layers[name].weight_axis
        weight.mul_(_along(axis, factors, weight))


def _along(axis: int, factors: Tensor, weight: Tensor) -> Tensor:
    """Factors (C,) in a shape that broadcasts along one axis of a weight."""
    return factors.view([-1 if i == axis else 1 for i in range(weight.dim())])


def _columns(layer: QuantMixin) -> Tensor:
    """Absolute weights (C, ...) by input channel."""
    return layer.weight.transpose(0, 1 - layer.weight_axis).flatten(1).abs()


def _outputs(ctx: PTQContext) -> Callable[[], list[Tensor]]:
    """A function that gives the outputs of the model on one sample."""
    sample = ctx.first_batch()
    try:
        forward = build_adapter(ctx.model).raw_outputs
    except QuantizationError:
        forward = ctx.predict
    return lambda: [x.clone() for x in flatten(forward(sample))[0] if x.is_floating_point()]


def _input_ranges(ctx: PTQContext, names: set[str]) -> dict[str, Tensor]:
    """Mean over samples of the largest absolute value in each input channel of each layer."""
    modules = {ctx.layers[name].module: name for name in names}
    # A layer that gets no rows (an image without proposals) keeps zeros: its channels stay.
    sums = {
        name: torch.zeros(len(_columns(module)), device=module.weight.device)
        for module, name in modules.items()
    }

    def observe(module: QuantMixin, args: tuple, kwargs: dict[str, Any]) -> None:
        rows = channel_rows(module, next(tensors_in((args, kwargs))))
        if rows.shape[1]:
            sums[modules[module]] = sums[modules[module]] + rows.abs().amax(1)

    with temporary_hooks(before=dict.fromkeys(modules, observe), with_kwargs=True):
        for data in ctx.batches('equalize'):
            ctx.predict(data)
    for name in sorted(names):  # the same order in all processes
        layer = ctx.layers[name].module
        sums[name] = layer.weight.new_zeros(_columns(layer).shape[0]) + sums[name]
        parallel.sum_(sums[name])
    return sums


def _agree(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether they are the same up to sums in another order; not where there is nothing."""
    return (
        bool(first)
        and len(first) == len(second)
        and all(
            x.shape == y.shape
            and torch.allclose(x, y, 1e-3, 1e-4 * (1 + float(x.abs().max())), equal_nan=True)
            for x, y in zip(first, second, strict=True)
            if x.numel() or y.numel()
        )
    )
