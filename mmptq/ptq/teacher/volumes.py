"""Volumes: the positions of a feature map, each with a vector of channels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmptq.quantization.layers import QuantMixin, quant_type_of

from .gradients import Gradients


def channel_axis(x: Tensor, owner: nn.Module | None = None) -> int:
    """The axis of the channels, from 0.

    Args:
        x (Tensor): A map (B, C, H, W) or (B, C, D, H, W), whose volumes are pixels or cells; or
            (..., C), whose volumes are tokens, points or active voxels.
        owner (nn.Module, optional): The layer or block that reads or gives x. A linear layer has
            the channels last for any number of axes, and so has a block of linear layers alone; a
            convolution has them where it reads them. None, and a block with other layers, goes by
            the number of axes: the second of four or more, else the last.
    """
    kind = _kind(owner)
    if kind is not None:
        unbatched = x.dim() + 1 == kind.batched_dims
        return (kind.channel_axis - unbatched) % max(1, x.dim())
    return 1 if x.dim() >= 4 and not _channels_last(owner) else x.dim() - 1


def _kind(layer: nn.Module | None) -> QuantMixin | type[QuantMixin] | None:
    """What knows the axes of a layer, quantized or float; None of a module that is no layer."""
    if layer is None or isinstance(layer, QuantMixin):
        return layer
    return quant_type_of(type(layer))  # a container without modules is false, hence no "and"


def _channels_last(block: nn.Module | None) -> bool:
    kinds = [] if block is None else [_kind(module) for module in block.modules()]
    return {kind.channel_axis for kind in kinds if kind is not None} == {-1}


def rows_of(x: Tensor, owner: nn.Module | None = None) -> Tensor:
    """The volumes of a tensor as rows, (N, C)."""
    if x.dim() < 2:
        return x.reshape(-1, 1)
    return x.movedim(channel_axis(x, owner), -1).flatten(0, -2)


def saliency(gradient: Tensor, owner: nn.Module | None = None) -> Tensor:
    """L1 norm over the channels, of the shape of the gradient with one channel."""
    return gradient.abs().sum(channel_axis(gradient, owner), keepdim=True)


@dataclass
class Volumes:
    """The volumes of a layer on one sample.

    Attributes:
        scores (Tensor): (N,) L1 norms of the gradients.
        squares (Tensor): (N,) means over the channels of the squared gradients.
    """

    scores: Tensor
    squares: Tensor

    @classmethod
    def of(cls, gradients: Gradients, name: str, sample: int, side: str) -> 'Volumes':
        """All calls of a module on a sample, on the CPU."""
        owner = gradients.owners.get(name)
        tensors = [x for x in gradients.tensors(name, sample, side) if x.dim()]
        scores = [saliency(x, owner).flatten().cpu() for x in tensors]
        squares = [x.square().mean(channel_axis(x, owner)).flatten().cpu() for x in tensors]
        empty = torch.zeros(0, device='cpu')
        return cls(torch.cat([empty, *scores]), torch.cat([empty, *squares]))
