"""Features along the priors of CLRNet, and attention of each prior to the image."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


class ROIGather(BaseModule):
    """Features of priors from all stages so far, with context from the whole feature map.

    Convolutions run along the points of each prior: one over the features of each stage, one over
    those of this stage and all before. A linear layer makes one vector per prior; attention to a
    small copy of the feature map adds the context. Section 3.2 of https://arxiv.org/abs/2203.10350;
    sizes and layers are those of the published code.

    The feature map is made smaller before the layers of the attention, which choose single cells:
    in a test the result is the same as the published order, in training BatchNorm counts fewer
    cells.

    Args:
        channels (int): Channels C of feature maps and results.
        num_priors (int): Number of priors A.
        num_points (int): Number of points P per prior.
        num_stages (int): Number of stages.
        mid_channels (int): Channels of each stage before they are joined.
        context_size (tuple[int, int]): Height and width of the small feature map.
    """

    def __init__(
        self,
        channels: int,
        num_priors: int,
        num_points: int = 36,
        num_stages: int = 3,
        mid_channels: int = 48,
        context_size: tuple[int, int] = (10, 25),
    ) -> None:
        super().__init__()
        self.context_size = tuple(context_size)
        self.scale = channels**-0.5
        along = dict(kernel_size=(1, 9), padding=(0, 4), bias=False, norm_cfg=dict(type='BN'))
        self.convs = nn.ModuleList(
            ConvModule(channels, mid_channels, **along) for _ in range(num_stages)
        )
        self.joint_convs = nn.ModuleList(
            ConvModule(mid_channels * (stage + 1), channels, **along) for stage in range(num_stages)
        )
        self.fc = nn.Linear(channels * num_points, channels)
        self.norm = nn.LayerNorm(channels)
        # A factor and an offset for each prior.
        self.query = nn.Conv1d(num_priors, num_priors, 1, groups=num_priors)
        self.key = ConvModule(channels, channels, 1, norm_cfg=dict(type='BN'))
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv1d(num_priors, num_priors, 1, groups=num_priors)
        self.dropout = nn.Dropout(0.1)

    def init_weights(self) -> None:
        """Initialise; at first the context adds nothing."""
        super().init_weights()
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def reduce(self, sampled: Tensor, stage: int) -> Tensor:
        """Features of one stage for this stage and all later ones.

        Args:
            sampled (Tensor): (B, C, A, P) features at the points of priors.
            stage (int): Index of the stage.

        Returns:
            Tensor: (B, mid_channels, A, P).
        """
        return self.convs[stage](sampled)

    def forward(self, reduced: Sequence[Tensor], feature: Tensor) -> Tensor:
        """One vector per prior.

        Args:
            reduced (Sequence[Tensor]): From :meth:`reduce`, for all stages up to this one.
            feature (Tensor): (B, C, h, w) feature map of this stage.

        Returns:
            Tensor: (B, A, C).
        """
        joint = self.joint_convs[len(reduced) - 1](torch.cat(list(reduced), dim=1))
        priors = F.relu(self.norm(self.fc(joint.transpose(1, 2).flatten(2))))
        context = F.interpolate(feature, self.context_size)
        keys, values = self.key(context).flatten(2), self.value(context).flatten(2)
        queries = F.relu(self.query(priors)) * self.scale
        weights = (queries @ keys).softmax(dim=-1)
        return priors + self.dropout(self.out(weights @ values.transpose(1, 2)))
