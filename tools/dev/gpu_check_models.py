"""Float models with random weights, and data for them, for gpu_check.py."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmptq

RANGE = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]


@dataclass
class Case:
    """A float model and how to make batches for it."""

    build: Callable[[], nn.Module]
    batches: Callable[[int], list[Any]]
    scheme: str = 'w4a4'

    def quantized(self, stages: list, device: str, folder: Path | None = None) -> nn.Module:
        """The model on a device, quantized on four batches."""
        model = self.build().to(device)
        return mmptq.quantize(model, self.batches(4), self.scheme, stages, folder)


def plain_net() -> nn.Module:
    """A few layers without detector, adapter or compiled operators."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(16, 16, 3, groups=16), nn.ReLU6(), nn.Conv2d(16, 8, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10)).eval()


def retinanet(full: bool) -> nn.Module:
    """RetinaNet with ResNet-50, or a narrow one with ResNet-18."""
    from mmdet.registry import MODELS

    init_default_scope('mmdet')
    depth = 50 if full else 18
    cfg = get_config(f'mmdet::retinanet/retinanet_r{depth}_fpn_1x_coco.py').model
    cfg.backbone.init_cfg = None
    if not full:
        cfg.backbone.base_channels = 8
        cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=32)
        cfg.bbox_head.update(in_channels=32, feat_channels=32, num_classes=5)
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for parameter in model.bbox_head.parameters():
        if parameter.dim() > 1:  # the initial weights would give the same scores everywhere
            nn.init.kaiming_normal_(parameter)
    return model


def center_point(full: bool) -> nn.Module:
    """Voxel CenterPoint of nuScenes with 0.1 m, or a narrow one with 0.8 m."""
    from mmdet3d.registry import MODELS

    init_default_scope('mmdet3d')
    name = 'mmdet3d::_base_/models/centerpoint_voxel01_second_secfpn_nus.py'
    cfg = get_config(name).model
    cells, size = (1024, 0.1) if full else (128, 0.8)
    voxel = [size, size, 0.2]
    cfg.data_preprocessor.voxel_layer.update(point_cloud_range=RANGE, voxel_size=voxel)
    cfg.pts_middle_encoder.sparse_shape = [41, cells, cells]
    cfg.pts_bbox_head.bbox_coder.update(pc_range=RANGE[:2], voxel_size=voxel[:2])
    cfg.train_cfg.pts.update(point_cloud_range=RANGE, voxel_size=voxel)
    cfg.train_cfg.pts.grid_size = [cells, cells, 40]
    cfg.test_cfg.pts.update(pc_range=RANGE[:2], voxel_size=voxel[:2])
    if not full:
        cfg.pts_bbox_head.bbox_coder.max_num = 50
        cfg.pts_backbone.update(out_channels=[32, 64], layer_nums=[1, 1])
        cfg.pts_neck.update(in_channels=[32, 64], out_channels=[32, 32])
        cfg.pts_bbox_head.update(in_channels=64, share_conv_channel=16)
        cfg.pts_bbox_head.tasks = cfg.pts_bbox_head.tasks[:2]
    torch.manual_seed(0)
    return MODELS.build(cfg).eval()


def tensors(count: int) -> list[Tensor]:
    """Batches of two for the plain network."""
    return list(torch.randn(2 * count, 3, 24, 24).split(2))


def images(count: int, height: int, width: int) -> list[dict[str, Any]]:
    """Batches of one random image."""
    from mmdet.testing import demo_mm_inputs

    return [demo_mm_inputs(1, [[3, height, width]]) for _ in range(count)]


def scans(count: int, points: int) -> list[dict[str, Any]]:
    """Batches of one random scan."""
    from mmdet3d.testing import create_detector_inputs

    low, high = torch.tensor(RANGE[:3]), torch.tensor(RANGE[3:])
    batches = []
    for seed in range(count):
        batches.append(
            create_detector_inputs(seed, num_points=points, points_feat_dim=5, with_img=False)
        )
        points_of = batches[-1]['inputs']['points'][0]
        points_of[:, :3] = low + points_of[:, :3] * (high - low)
    return batches
