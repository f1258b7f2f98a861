"""Dense heads of stock detectors without the rest, and random outputs of them."""

import copy

import torch
from mmengine.registry import init_default_scope
from stock_models import stock_config
from torch import nn

SIZES = [(64, 160), (96, 200)]


def head_of(family: str, **test_cfg) -> nn.Module:
    """A detector of which only the head exists."""
    from mmdet.registry import MODELS

    init_default_scope('mmdet')
    cfg = stock_config(family)
    settings = copy.deepcopy(cfg.test_cfg)
    settings.update(test_cfg)
    detector = nn.Module()
    detector.backbone = nn.Identity()
    detector.bbox_head = MODELS.build(dict(cfg.bbox_head, test_cfg=settings)).eval()
    return detector


def raw_outputs(head: nn.Module, size: tuple[int, int], images: int = 2) -> tuple:
    """Random head outputs of the right shapes, with many scores above the threshold."""
    maps = [
        torch.zeros(images, head.in_channels, -(-size[0] // s[1]), -(-size[1] // s[0]))
        for s in head.prior_generator.strides
    ]
    return tuple([torch.randn_like(x) * 1.5 for x in level] for level in head(maps))
