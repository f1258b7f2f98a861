"""Narrow segmentation models, and tiny images with lanes on them, for tests."""

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import nn

WIDTH, HEIGHT = 64, 48
LANES = [
    [np.array([[8, 47], [16, 26], [24, 5]]), np.array([[52, 47], [46, 26], [40, 5]])],
    [np.array([[30, 47], [33, 26], [36, 5]])],
    [],
]
SLOTS = [[0, 3], [1], []]


def make_sample(lanes, slots, size=(WIDTH, HEIGHT)) -> DetDataSample:
    """A data sample whose input is the original image."""
    shape = (size[1], size[0])
    sample = DetDataSample(
        metainfo=dict(homography_matrix=np.eye(3), img_shape=shape, ori_shape=shape)
    )
    sample.gt_lanes = [torch.tensor(lane, dtype=torch.float32) for lane in lanes]
    sample.gt_lane_slots = torch.tensor(slots, dtype=torch.int64)
    return sample


def batch() -> dict:
    """Grey noise with bright lanes: two images with lanes and one without."""
    random = np.random.default_rng(0)
    inputs, samples = [], []
    for lanes, slots in zip(LANES, SLOTS, strict=True):
        image = random.integers(60, 100, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        for lane in lanes:
            cv2.polylines(image, [lane.astype(np.int32)], False, (230, 230, 230), 2)
        inputs.append(torch.from_numpy(image.transpose(2, 0, 1).copy()))
        samples.append(make_sample(lanes, slots))
    return dict(inputs=inputs, data_samples=samples)


def build(kind: str, **changes) -> nn.Module:
    """A seeded narrow 'enet', 'scnn' or 'resa' for images of 64x48 pixels."""
    torch.manual_seed(0)
    parts = dict(enet=_enet, scnn=_scnn, resa=_resa)[kind]()
    parts['lane_head'] = dict(
        type='LaneSegHead',
        num_lanes=4,
        lane_width=3,
        decoding=dict(row_step=4, window=3),
        **parts['lane_head'],
    )
    preprocessor = dict(type='DetDataPreprocessor', mean=[90] * 3, std=[50] * 3)
    model = MODELS.build(
        dict(type='LaneDetector', data_preprocessor=preprocessor, **parts, **changes)
    )
    model.init_weights()
    for module in model.modules():  # nothing random, and statistics of three images
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    return model


def _existence(in_channels: int | None) -> dict:
    return dict(type='LaneExistence', num_lanes=4, feat_size=(6, 8), in_channels=in_channels)


def _resnet(**changes) -> dict:
    return dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        num_stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        out_indices=(0, 1, 2),
        norm_eval=False,
        **changes,
    )


def _enet() -> dict:
    return dict(
        backbone=dict(type='ENet'),
        lane_head=dict(
            decoder=dict(type='ENetDecoder', num_classes=5),
            existence=_existence(128),
            iou_weight=0.1,
        ),
    )


def _scnn() -> dict:
    return dict(
        backbone=_resnet(),
        neck=dict(type='SCNN', in_channels=32, channels=16),
        lane_head=dict(
            decoder=dict(type='LinearDecoder', num_classes=5, in_channels=16),
            existence=_existence(None),
        ),
    )


def _resa() -> dict:
    return dict(
        backbone=_resnet(),
        neck=dict(type='RESA', in_channels=32, channels=64, iterations=2),
        lane_head=dict(
            decoder=dict(type='BUSDDecoder', num_classes=5, in_channels=64),
            existence=_existence(64),
        ),
    )
