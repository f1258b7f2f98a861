"""Tiny LiDAR detectors of the stock architectures, and scans for them."""

from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

RANGE = [-8.0, -8.0, -4.0, 8.0, 8.0, 4.0]
TASKS = [
    dict(num_class=1, class_names=['car']),
    dict(num_class=2, class_names=['bus', 'truck']),
]
MODELS_OF_MMDET3D = {
    'pillar': 'centerpoint_pillar02_second_secfpn_nus',
    'voxel': 'centerpoint_voxel01_second_secfpn_nus',
    'pointpillars': 'pointpillars_hv_secfpn_kitti',
    'second': 'second_hv_secfpn_kitti',
}


def stock_model_config(name: str) -> Config:
    """The ``model`` of mmdet3d's own config."""
    path = f'mmdet3d::_base_/models/{MODELS_OF_MMDET3D[name]}.py'
    return Config.fromstring(f"_base_ = '{path}'", '.py').model


def build(cfg: Config) -> nn.Module:
    """The detector in eval mode, with seeded weights and lively BatchNorm statistics."""
    from mmdet3d.registry import MODELS

    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.5, 1.5)
    return model


def tiny_center_point(kind: str = 'pillar', velocity: bool = True) -> nn.Module:
    """CenterPoint on a grid of 8 x 8 output cells of 2 m, two tasks with three classes.

    Args:
        kind (str): pillar or voxel.
        velocity (bool): Whether the head has a velocity branch.
    """
    cfg = stock_model_config(kind)
    voxel = [1.0, 1.0, 8.0] if kind == 'pillar' else [1.0, 1.0, 1.0]
    factor = 2
    cfg.data_preprocessor.voxel_layer.update(
        point_cloud_range=RANGE, voxel_size=voxel, max_voxels=(200, 200), max_num_points=5
    )
    if kind == 'pillar':
        cfg.pts_voxel_encoder.update(feat_channels=[16], voxel_size=voxel, point_cloud_range=RANGE)
        cfg.pts_middle_encoder.update(in_channels=16, output_shape=(16, 16))
        channels = 16
    else:
        cfg.pts_middle_encoder.update(
            sparse_shape=[9, 16, 16],
            output_channels=8,
            encoder_channels=((16, 16), (16,)),
            encoder_paddings=((0, 1), (0,)),
        )
        channels = 16
    strides = [2, 1] if kind == 'pillar' else [1, 1]
    cfg.pts_backbone.update(
        in_channels=channels, out_channels=[16, 16], layer_nums=[1, 1], layer_strides=strides
    )
    cfg.pts_neck.update(in_channels=[16, 16], out_channels=[16, 16], upsample_strides=[1, 1])
    head = cfg.pts_bbox_head
    head.update(in_channels=32, tasks=TASKS, share_conv_channel=16)
    head.separate_head.update(head_conv=8)
    head.bbox_coder.update(
        pc_range=RANGE[:2], voxel_size=voxel[:2], out_size_factor=factor, max_num=20
    )
    if not velocity:
        del head.common_heads['vel']
        head.bbox_coder.code_size = 7
    cfg.train_cfg.pts.update(
        grid_size=[16, 16, 1],
        voxel_size=voxel,
        point_cloud_range=RANGE,
        out_size_factor=factor,
        max_objs=20,
    )
    cfg.test_cfg.pts.update(
        nms_type='circle', min_radius=[1, 1], voxel_size=voxel[:2], out_size_factor=factor
    )
    return build(cfg)


def tiny_anchor_model(kind: str = 'pointpillars') -> nn.Module:
    """PointPillars or SECOND on a grid of 8 x 8 output cells of 2 m, three classes."""
    cfg = stock_model_config(kind)
    voxel = [1.0, 1.0, 8.0] if kind == 'pointpillars' else [1.0, 1.0, 1.0]
    cfg.data_preprocessor.voxel_layer.update(
        point_cloud_range=RANGE, voxel_size=voxel, max_voxels=(200, 200), max_num_points=5
    )
    if kind == 'pointpillars':
        cfg.voxel_encoder.update(feat_channels=[16], voxel_size=voxel, point_cloud_range=RANGE)
        cfg.middle_encoder.update(in_channels=16, output_shape=[16, 16])
        layers = dict(layer_nums=[1, 1], layer_strides=[2, 1], out_channels=[16, 16])
        cfg.backbone.update(in_channels=16, **layers)
    else:
        cfg.middle_encoder.update(
            sparse_shape=[9, 16, 16],
            base_channels=8,
            output_channels=8,
            encoder_channels=((8,), (16, 16)),
            encoder_paddings=((1,), (1, 1)),
        )
        layers = dict(layer_nums=[1, 1], layer_strides=[1, 1], out_channels=[16, 16])
        cfg.backbone.update(in_channels=16, **layers)
    cfg.neck.update(in_channels=[16, 16], out_channels=[16, 16], upsample_strides=[1, 1])
    cfg.bbox_head.update(in_channels=32, feat_channels=32)
    cfg.bbox_head.anchor_generator.ranges = [[-7, -7, z, 7, 7, z] for z in (-0.6, -0.6, -1.78)]
    return build(cfg)


def scan_batch(model: nn.Module, *scans: Tensor) -> dict[str, Any]:
    """A batch of point clouds (n, C) as ``PTQContext.batches`` yields it."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    metainfo = dict(box_type_3d=LiDARInstance3DBoxes, lidar_path='made-up.bin')
    samples = [Det3DDataSample(metainfo=dict(metainfo)) for _ in scans]
    batch = dict(inputs=dict(points=list(scans)), data_samples=samples)
    return model.data_preprocessor(batch, False)


def random_scan(num_points: int = 300, columns: int = 5, seed: int = 0) -> Tensor:
    """Points (n, columns) inside the range of the tiny models."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(num_points, columns, generator=generator)
    low, high = torch.tensor(RANGE[:3]), torch.tensor(RANGE[3:])
    points[:, :3] = low + points[:, :3] * (high - low)
    return points


def evaluated_sample(gt: list, pred: list, num_lidar_pts=None, boxes=None) -> dict[str, Any]:
    """One sample as a metric of 3D boxes gets it.

    Args:
        gt (list): Pairs of a box (7 numbers) and its label.
        pred (list): Triples of a box, its label and its score.
        num_lidar_pts (list): Points in each true box. Absent if ``None``.
        boxes (type): Class of the true boxes. Default: ``LiDARInstance3DBoxes``.
    """
    from mmdet3d.structures import LiDARInstance3DBoxes

    gt_boxes, gt_labels = [g[0] for g in gt], [g[1] for g in gt]
    truth = dict(
        gt_bboxes_3d=(boxes or LiDARInstance3DBoxes)(torch.tensor(gt_boxes).reshape(-1, 7)),
        gt_labels_3d=np.array(gt_labels, dtype=np.int64),
    )
    if num_lidar_pts is not None:
        truth['num_lidar_pts'] = np.array(num_lidar_pts)
    pred_boxes = torch.tensor([p[0] for p in pred]).reshape(-1, 7)
    pred = dict(
        bboxes_3d=LiDARInstance3DBoxes(pred_boxes),
        labels_3d=torch.tensor([p[1] for p in pred], dtype=torch.long),
        scores_3d=torch.tensor([p[2] for p in pred], dtype=torch.float32),
    )
    return dict(sample_idx=7, eval_ann_info=truth, pred_instances_3d=pred)
