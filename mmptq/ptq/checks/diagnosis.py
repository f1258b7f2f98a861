"""Layer inputs whose step is coarse against what many of their channels hold."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn

from mmptq.ptq.context import PTQContext
from mmptq.ptq.layer_state import LayerState
from mmptq.quantization import FakeQuantizer, QuantMixin
from mmptq.quantization.layers.sparse import SPARSE_CONVS
from mmptq.quantization.placement import reads_images
from mmptq.utils.detector_parts import IMAGE_BRANCH

# A layer is reported where the step is larger than the standard deviation of this share of its
# channels, and they make up that share of its output: what the weights ignore costs nothing.
# Of raw points one such channel is enough: metres over the whole range of the sensor make up nearly
# all of the output, and what the network reads from the other columns nearly nothing of it.
# Below this number of bits coarse steps are what was asked for.
MIN_BITS = 8
CHANNEL_SHARE = 0.25
OUTPUT_SHARE = 0.005
# Calls per layer and values per call that are looked at: it has to cost next to nothing.
NUM_CALLS = 8
NUM_VALUES = 2**14
SHOWN = 3
KINDS = dict(
    points='raw points: metres, offsets and reflectance share one step',
    depthwise='depthwise convolutions: their channels share one step and never mix',
    other='their channels have very different ranges',
)


@dataclass
class ChannelSpread:
    """Standard deviation of each channel of layer inputs, on a part of their positions.

    Attributes:
        sums (dict[str, list]): Number of positions, sums and sums of squares (C,), by layer.
        calls (dict[str, int]): Calls that were used, by layer.
        seconds (float): Time that this took.
    """

    sums: dict[str, list] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def hooks(self, layers: Iterable[tuple[LayerState, QuantMixin]]) -> dict[nn.Module, Callable]:
        """Hooks that take in what each input quantizer gets, by quantizer."""

        def hook(name: str, layer: QuantMixin) -> Callable:
            return lambda module, args: self.update(name, layer, args[0])

        return {
            layer.input_quantizer: hook(state.name, layer)
            for state, layer in layers
            if isinstance(layer.input_quantizer, FakeQuantizer)
        }

    def update(self, name: str, layer: QuantMixin, x: Tensor) -> None:
        """Take in one input of a layer.

        Args:
            name (str): Of the layer.
            layer (QuantMixin): Knows the axis of the channels.
            x (Tensor): The input; of a sparse tensor the features.
        """
        start, calls = time.perf_counter(), self.calls.get(name, 0)
        if calls >= NUM_CALLS or x.numel() == 0 or x.dim() < 2:
            return
        self.calls[name] = calls + 1
        x = x.detach().movedim(layer.channel_axis, 0).flatten(1)
        x = x[:, :: max(1, x.numel() // NUM_VALUES)].double()
        sums = self.sums.setdefault(name, [0, 0.0, 0.0])
        sums[0] += x.shape[1]
        sums[1] = sums[1] + x.sum(1)
        sums[2] = sums[2] + x.square().sum(1)
        self.seconds += time.perf_counter() - start

    def deviations(self, name: str) -> Tensor | None:
        """Standard deviations (C,) of the channels of a layer input, or None if it never ran."""
        if name not in self.sums:
            return None
        count, total, squares = self.sums[name]
        return (squares / count - (total / count).square()).clamp(min=0).sqrt()


def diagnose(ctx: PTQContext, spread: ChannelSpread) -> None:
    """Warn of layer inputs with a coarse step, a line per kind, and record them as 'diagnosis'.

    Args:
        ctx (PTQContext): Calibrated.
        spread (ChannelSpread): Of the calibration samples.
    """
    start, points = time.perf_counter(), points_layer(ctx)
    rows = []
    for name, state in ctx.layers.items():
        deviations = spread.deviations(name)
        row = None if deviations is None else _coarse(state.module, deviations, name == points)
        if row is not None:
            depthwise = 'depthwise' if _is_depthwise(state.module) else 'other'
            rows.append(dict(layer=name, kind='points' if name == points else depthwise, **row))
    if rows:
        ctx.record('diagnosis', rows)
    for kind, text in KINDS.items():
        found = [row for row in rows if row['kind'] == kind]
        if found:
            ctx.logger.warning(_line(ctx, kind, text, found))
    seconds = spread.seconds + time.perf_counter() - start
    ctx.checks.append(dict(check='coarse steps', seconds=seconds))


def _coarse(layer: QuantMixin, deviations: Tensor, points: bool) -> dict[str, float] | None:
    """The numbers of a layer with a coarse step; None for all others."""
    quantizer = layer.input_quantizer
    if not isinstance(quantizer, FakeQuantizer) or quantizer.scale.numel() != 1:
        return None
    if quantizer.scheme.bits < MIN_BITS:
        return None
    step, alive = quantizer.scale.item(), deviations > 0
    coarse = alive & (deviations < step)
    share = coarse.sum().item() / max(1, alive.sum().item())
    if share < CHANNEL_SHARE and not (points and share):
        return None
    power = (deviations * column_norms(layer).to(deviations)).square()
    output = (power[coarse].sum() / power.sum().clamp(min=1e-30)).item()
    if output < OUTPUT_SHARE and not points and not _is_depthwise(layer):
        return None
    median = deviations[alive].median().item()
    return dict(
        step=step,
        coarse_channels=int(coarse.sum()),
        channels=int(alive.sum()),
        median_deviation=median,
        output_share=output,
    )


def column_norms(layer: nn.Module) -> Tensor:
    """Norm of the weights that read each input channel, (C,)."""
    weight, groups = layer.weight.detach(), getattr(layer, 'groups', 1)
    if isinstance(layer, SPARSE_CONVS):
        columns = weight.movedim(-1, 0).flatten(1)  # (out, k..., in)
    elif getattr(layer, 'transposed', False):
        columns = weight.flatten(1)  # (in, out, k...)
    else:
        # (out, in / groups, k...): a group of inputs is read by a group of outputs.
        columns = weight.flatten(2) if weight.dim() > 2 else weight[..., None]
        columns = columns.unflatten(0, (groups, -1)).movedim(2, 1).flatten(2).flatten(0, 1)
    return columns.float().norm(dim=1)


def _is_depthwise(layer: QuantMixin) -> bool:
    return getattr(layer, 'groups', 1) > 1 and layer.groups == layer.num_input_channels


def points_layer(ctx: PTQContext) -> str | None:
    """The layer that reads raw points: the first one of a LiDAR model."""
    bases = type(getattr(ctx.model, 'data_preprocessor', None)).__mro__
    if not ctx.plan.layers or 'Det3DDataPreprocessor' not in [base.__name__ for base in bases]:
        return None
    # In order of execution; the cameras of a detector that fuses both come first.
    names = (layer.name for layer in ctx.plan.layers)
    name = next((name for name in names if not name.startswith(IMAGE_BRANCH)), None)
    return None if name is None or reads_images(ctx.model.get_submodule(name)) else name


def _line(ctx: PTQContext, kind: str, text: str, found: list[dict]) -> str:
    found = sorted(found, key=lambda row: -row['coarse_channels'] / row['channels'])
    shown = ', '.join(
        f"'{row['layer']}' (step {row['step']:.3g}, {row['coarse_channels']} of {row['channels']} "
        'channels)'
        for row in found[:SHOWN]
    )
    more = f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
    name = found[0]['layer']
    remedy = {'points': '--scheme int8_lidar', 'depthwise': '--recipe mult_mse'}.get(kind)
    if remedy is None and ctx.limits is None:
        remedy = f"--bits '{name}=w8a16'"
    return (
        f'the step of a layer input is larger than the standard deviation of channels in '
        f"{shown}{more} ({text}): use {f'{remedy}, or ' if remedy else ''}--float '{name}'"
    )
