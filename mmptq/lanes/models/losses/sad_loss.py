"""Self attention distillation."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class SADLoss(nn.Module):
    """Self attention distillation, SAD (https://arxiv.org/abs/1908.00821, section 3.1).

    Each stage of a backbone learns the attention map of the next deeper one: with A the feature of
    a stage, the map is softmax over all positions of the sum over channels of A^2, and the loss of
    a pair of stages is the squared difference of their maps. Needs no labels and has no parameters;
    the network for inference is the same with and without it.

    ``enabled`` is false at first; :class:`~mmptq.engine.SADHook` sets it when the deep stages have
    learned something worth copying.

    Note:
        - The maps of a pair have the size of the shallower feature: the deeper sum of squares is
          up-sampled before its softmax, so that each map sums to 1.
        - Squared differences are summed over positions and averaged over the batch. Their mean over
          positions would be about 1e-7 and train nothing.
        - The deeper map is detached: the arrow of imitation points from the shallow stage to the
          deep one only. Papers and code do not say so, but without it the deep stage would learn
          from the shallow one as well.
        - The softmax of the paper's plain sums saturates: in an ENet they reach several thousand,
          so that one position has all attention and no gradient remains. ``relative=True`` keeps
          the form and makes the maps independent of the scale of features.

    Args:
        stages (Sequence[int]): Indices of stage features, shallow to deep. In ENet-SAD E2, E3 and
            E4; the shallowest block is left out because distilling it does harm.
        loss_weight (float): Weight of the loss.
        relative (bool): Whether sums of squares are divided by their mean over positions before the
            softmax; see the note.

    Example:
        >>> model = dict(
        ...     distillation=dict(type='SADLoss', stages=(1, 2, 3), loss_weight=0.1))
        >>> custom_hooks = [dict(type='SADHook', begin=40000)]
    """

    def __init__(
        self, stages: Sequence[int], loss_weight: float = 0.1, relative: bool = False
    ) -> None:
        super().__init__()
        if len(stages) < 2:
            raise ValueError(f'SADLoss needs two stages or more, not {list(stages)}')
        self.stages = tuple(stages)
        self.loss_weight = loss_weight
        self.relative = relative
        self.enabled = False

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Loss of all pairs of neighbouring stages.

        Args:
            feats (Sequence[Tensor]): Stage features of the backbone, (B, C, H, W) each.

        Returns:
            Tensor: Scalar.
        """
        energies = [attention_energy(feats[index]) for index in self.stages]
        if self.relative:
            energies = [e / e.mean(dim=(1, 2), keepdim=True).clamp(min=1e-6) for e in energies]
        losses = []
        for shallow, deep in pairwise(energies):
            target = attention_map(deep.detach(), shallow.shape[-2:])
            difference = attention_map(shallow, shallow.shape[-2:]) - target
            losses.append(difference.square().flatten(1).sum(dim=1).mean())
        return self.loss_weight * torch.stack(losses).sum()


def attention_energy(feature: Tensor) -> Tensor:
    """Sum of squares over channels.

    Args:
        feature (Tensor): (B, C, H, W).

    Returns:
        Tensor: (B, H, W) float32 or wider; half precision could not hold the sums.
    """
    return feature.to(torch.promote_types(feature.dtype, torch.float32)).square().sum(dim=1)


def attention_map(energy: Tensor, size: Sequence[int]) -> Tensor:
    """Spatial softmax at a given size.

    Args:
        energy (Tensor): (B, h, w).
        size (Sequence[int]): Height and width of the map; bilinear up-sampling leads there.

    Returns:
        Tensor: (B, H, W) positive shares that sum to 1.
    """
    if energy.shape[-2:] != tuple(size):
        energy = F.interpolate(
            energy[:, None], size=tuple(size), mode='bilinear', align_corners=False
        )[:, 0]
    return energy.flatten(1).softmax(dim=1).view(energy.shape)
