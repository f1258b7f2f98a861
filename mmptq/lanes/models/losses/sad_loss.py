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

    Each stage of a backbone learns the attention map of the next deeper stage. The attention map of
    a feature A is the softmax over all positions of the sum of A^2 over channels; the loss of a
    pair of stages is the squared difference of their maps. The loss needs no labels and has no
    parameters, and it does not change the network for inference.

    ``enabled`` is initially false; :class:`~mmptq.lanes.hooks.SADHook` sets it.

    Note:
        - Both maps of a pair have the size of the shallower feature: the deeper sum of squares is
          upsampled before the softmax, so that each map sums to 1.
        - Squared differences are summed over positions and averaged over the batch. A mean over
          positions would be about 1e-7, too small to train anything.
        - The deeper map is detached, so that only the shallow stage imitates the deep one. Paper
          and code do not mention this; without it the deep stage would also imitate the shallow
          one.
        - The softmax of the paper's sums saturates: in an ENet they reach several thousand, one
          position gets all attention and gradients vanish. ``relative=True`` makes the maps
          independent of the scale of features.

    Args:
        stages (Sequence[int]): Indices of stage features, shallow to deep. ENet-SAD uses E2, E3
            and E4, because distilling E1 reduces accuracy.
        loss_weight (float): Weight of the loss.
        relative (bool): Whether to divide sums of squares by their mean over positions before the
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
            raise ValueError(f'SADLoss needs at least two stages, got {list(stages)}')
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
        Tensor: (B, H, W) in float32 or wider, because the sums overflow in half precision.
    """
    return feature.to(torch.promote_types(feature.dtype, torch.float32)).square().sum(dim=1)


def attention_map(energy: Tensor, size: Sequence[int]) -> Tensor:
    """Spatial softmax at a given size.

    Args:
        energy (Tensor): (B, h, w).
        size (Sequence[int]): Height and width of the map; the energy is upsampled bilinearly.

    Returns:
        Tensor: (B, H, W) positive values that sum to 1.
    """
    if energy.shape[-2:] != tuple(size):
        energy = F.interpolate(
            energy[:, None], size=tuple(size), mode='bilinear', align_corners=False
        )[:, 0]
    return energy.flatten(1).softmax(dim=1).view(energy.shape)
