"""Trained networks rewritten so that they compute the same in a way that is hard to quantize."""

from collections.abc import Callable

import torch
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmptq.quantization.graph.channel_groups import ChannelGroup, find_channel_groups
from mmptq.quantization.graph.fold_bn import find_foldable, fold_bn
from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.layers import QUANT_LAYERS

Factors = Callable[[int, torch.Generator], Tensor]


def log_uniform(count: int, generator: torch.Generator) -> Tensor:
    """Factors from 0.01 to 100."""
    return 10 ** (4 * torch.rand(count, generator=generator) - 2)


def one_wide(count: int, generator: torch.Generator) -> Tensor:
    """One channel with fifty times the range."""
    factors = torch.ones(count)
    factors[torch.randint(count, (1,), generator=generator)] = 50.0
    return factors


def tiny(count: int, generator: torch.Generator) -> Tensor:
    """All channels small."""
    return torch.full((count,), 1e-5)


def huge(count: int, generator: torch.Generator) -> Tensor:
    """All channels large."""
    return torch.full((count,), 1e5)


FACTORS: dict[str, Factors] = dict(uneven=log_uniform, one=one_wide, tiny=tiny, huge=huge)


@torch.no_grad()
def scale_channels(model: nn.Module, image: Tensor, factors: Factors, seed: int = 0) -> list[str]:
    """Multiply channels where they are written and divide them where they are read.

    Args:
        model (nn.Module): In eval mode; changed in place, its outputs stay.
        image (Tensor): (1, 3, H, W).
        factors (Callable): Gives the factors of a group of channels.
        seed (int): Of the factors. Defaults to 0.

    Returns:
        list[str]: Layers whose input channels are scaled.
    """
    modules = dict(model.named_modules())

    shape = tuple(image.shape[-2:])
    keys = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    sample = DetDataSample(metainfo=dict(dict.fromkeys(keys, shape), scale_factor=(1.0, 1.0)))

    def run() -> object:
        return model(image, [sample], mode='predict')

    trace = trace_layers(model, tuple(QUANT_LAYERS), run)
    pairs, _ = find_foldable(model, trace)
    undo = fold_bn(model, pairs)
    groups = find_channel_groups({name: modules[name] for name in trace.layers}, run)
    undo()
    norms, generator = dict(pairs), torch.Generator().manual_seed(seed)
    for group in groups:
        count = modules[group.consumers[0]].weight.shape[1]
        _scale(group, modules, norms, factors(count, generator))
    return [name for group in groups for name in group.consumers]


def _scale(
    group: ChannelGroup, modules: dict[str, nn.Module], norms: dict[str, str], factors: Tensor
) -> None:
    for name in group.producers:
        writer = modules[norms.get(name, name)]
        writer.weight.mul_(factors.view(-1, *[1] * (writer.weight.dim() - 1)))
    for name in [*group.producers, *group.depthwise]:
        writer = modules[norms.get(name, name)]
        if writer.bias is not None:
            writer.bias.mul_(factors)
    for name in group.consumers:
        modules[name].weight.div_(factors.view(1, -1, *[1] * (modules[name].weight.dim() - 2)))


class Detour(nn.Module):
    """The identity as a block of mobile networks: expansion, activation, depthwise, projection.

    ``f(x) - f(-x) = x`` for SiLU, GELU and Hardswish, and so for each channel times any factor.

    Args:
        channels (int): Of the input and the output.
        act (str): 'SiLU', 'GELU' or 'Hardswish'.
        factors (Tensor): (channels,).
    """

    def __init__(self, channels: int, act: str, factors: Tensor):
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.act = getattr(nn, act)()
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1, groups=2 * channels)
        self.project = nn.Conv2d(2 * channels, channels, 1)
        matrix = torch.cat([torch.diag(factors), -torch.diag(factors)])
        for layer, weight in (
            (self.expand, matrix),
            (self.project, torch.diag(1 / factors).repeat(1, 2) * _signs(channels)),
        ):
            layer.weight.data.copy_(weight[:, :, None, None])
            layer.bias.data.zero_()
        self.depthwise.weight.data.zero_()
        self.depthwise.weight.data[:, :, 1, 1] = 1.0
        self.depthwise.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.depthwise(self.act(self.expand(x))))


def _signs(channels: int) -> Tensor:
    return torch.cat([torch.ones(channels), -torch.ones(channels)])


@MODELS.register_module()
class DetourResNet(ResNet):
    """A ResNet with a ``Detour`` behind each stage; the other parameters keep their names.

    Args:
        detour_act (str): Activation of the detours.
        detour_factors (str): A name of ``FACTORS``.
    """

    def __init__(self, *args, detour_act: str, detour_factors: str, **kwargs):
        super().__init__(*args, **kwargs)
        generator = torch.Generator().manual_seed(0)
        channels = [self.base_channels * 2**index for index in self.out_indices]
        self.detours = nn.ModuleList(
            Detour(count, detour_act, FACTORS[detour_factors](count, generator))
            for count in channels
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the stages."""
        maps = super().forward(x)
        return tuple(detour(x) for detour, x in zip(self.detours, maps, strict=True))
