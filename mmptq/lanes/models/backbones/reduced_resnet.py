"""The small ResNet of LSTR."""

from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import BasicBlock
from mmdet.registry import MODELS


@MODELS.register_module()
class ReducedResNet(ResNet):
    """ResNet-18 with one block fewer in its first stage ("R18s").

    LSTR uses it with 16, 32, 64 and 128 channels (``base_channels=16``), section 4.2 of
    https://arxiv.org/abs/2011.04233.

    Example:
        >>> backbone = dict(
        ...     type='ReducedResNet', depth=18, base_channels=16, out_indices=(3,))
    """

    arch_settings = {18: (BasicBlock, (1, 2, 2, 2))}
