"""Volumes: the positions of a feature map, each with a vector of channels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .gradients import Gradients


def channel_axis(x: Tensor) -> int:
    """The axis of the channels.

    Args:
        x (Tensor): A map (B, C, H, W) or (B, C, D, H, W), whose volumes are pixels or cells; or
            (..., C), whose volumes are tokens, points or active voxels.
    """
    return 1 if x.dim() >= 4 else x.dim() - 1


def rows_of(x: Tensor) -> Tensor:
    """The volumes of a tensor as rows, (N, C)."""
    if x.dim() < 2:
        return x.reshape(-1, 1)
    return x.movedim(channel_axis(x), -1).flatten(0, -2)


def saliency(gradient: Tensor) -> Tensor:
    """L1 norm over the channels, of the shape of the gradient with one channel."""
    return gradient.abs().sum(channel_axis(gradient), keepdim=True)


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
        tensors = [x for x in gradients.tensors(name, sample, side) if x.dim()]
        scores = [saliency(x).flatten().cpu() for x in tensors]
        squares = [x.square().mean(channel_axis(x)).flatten().cpu() for x in tensors]
        empty = torch.zeros(0, device='cpu')
        return cls(torch.cat([empty, *scores]), torch.cat([empty, *squares]))
