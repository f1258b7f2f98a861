"""Made-up samples for any detector of mmdet or mmdet3d, for support_matrix.py."""

from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor

SIZE = (96, 128)  # of images, in pixels
LARGE = (384, 384)  # where the coarsest map must not be smaller than a kernel
INDOOR = [-2.0, -2.0, 0.0, 2.0, 2.0, 2.0]
CORNER = 24.0  # metres; a lane ahead of the sensor is enough
NUM_POINTS = 2000


def make_batch(cfg: Config, model: ConfigDict, seed: int) -> dict[str, Any]:
    """A batch of one sample, as a data loader yields it.

    Args:
        cfg (Config): Its test pipeline says what a sample holds.
        model (ConfigDict): Its ``model``, possibly narrowed.
        seed (int): Another one gives other numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    if 'mmdet3d' in cfg.get('default_scope', '') or '3D' in model.data_preprocessor.type:
        return _sample_3d(cfg, model, generator)
    from mmdet.structures import DetDataSample, ReIDDataSample, TrackDataSample

    if model.type == 'BaseReID':
        image = _image((256, 128), generator)
        return pseudo_collate([dict(inputs=image, data_samples=ReIDDataSample())])
    size = _image_size(model)
    sample = DetDataSample(metainfo=_image_info(size))
    if model.type == 'FastRCNN':
        sample.proposals = InstanceData(bboxes=_boxes(size, generator))
    image = _image(size, generator)
    if model.data_preprocessor.type == 'TrackDataPreprocessor':
        video = TrackDataSample(
            video_data_samples=[sample], metainfo=dict(key_frames_inds=[0], ori_length=1)
        )
        return pseudo_collate([dict(inputs=image[None], data_samples=video)])
    return pseudo_collate([dict(inputs=image, data_samples=sample)])


def _image_size(model: ConfigDict) -> tuple[int, int]:
    if 'Hourglass' in model.get('backbone', {}).get('type', ''):
        return 128, 128
    head = model.get('bbox_head')
    if isinstance(head, dict) and head.get('type') == 'SSDHead':
        side = head.anchor_generator.get('input_size', 300)
        return side, side
    if isinstance(head, dict) and head.get('type') == 'DDODHead':
        return LARGE
    return SIZE


def _image(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A smooth image with some edges, uint8."""
    coarse = torch.rand(1, 3, 8, 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=size, mode='bilinear')[0]
    image += 0.2 * torch.rand(3, *size, generator=generator)
    return (image / 1.2 * 255).to(torch.uint8)


def _boxes(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    corners = torch.rand(30, 2, 2, generator=generator) * torch.tensor([size[1], size[0]])
    low, high = corners.amin(1), corners.amax(1)
    return torch.cat((low, torch.maximum(high, low + 4)), 1)


def _image_info(size: tuple[int, int]) -> dict[str, Any]:
    return dict(
        img_id=0,
        img_path='made-up.jpg',
        img_shape=size,
        ori_shape=size,
        pad_shape=size,
        batch_input_shape=size,
        input_shape=size,
        scale_factor=(1.0, 1.0),
        flip=False,
        border=np.array([0, size[0], 0, size[1]], dtype=np.float32),
        frame_id=0,
        ori_video_length=1,
    )


def _sample_3d(cfg: Config, model: ConfigDict, generator: torch.Generator) -> dict[str, Any]:
    from mmdet3d.structures import (
        CameraInstance3DBoxes,
        DepthInstance3DBoxes,
        Det3DDataSample,
        LiDARInstance3DBoxes,
    )

    steps = pipeline_steps(cfg)
    kinds = [step['type'].rpartition('.')[2] for step in steps]
    keys = next(
        (
            step['keys']
            for step, kind in zip(steps, kinds, strict=True)
            if kind == 'Pack3DDetInputs'
        ),
        ['points'],
    )
    text = repr(steps)
    box = LiDARInstance3DBoxes
    if "'DEPTH'" in text or 'sunrgbd' in cfg.filename or 'scannet' in cfg.filename:
        box = DepthInstance3DBoxes
    elif 'points' not in keys and 'Mono' in text:
        box = CameraInstance3DBoxes
    inputs: dict[str, Any] = {}
    meta = dict(box_type_3d=box, box_mode_3d=0, lidar_path='made-up.bin', sample_idx=0)
    if 'points' in keys:
        inputs['points'] = _points(cfg, model, steps, box is DepthInstance3DBoxes, generator)
    if 'img' in keys:
        views = 2 if any('MultiView' in kind for kind in kinds) else 1
        images = [_image(SIZE, generator) for _ in range(views)]
        inputs['img'] = torch.stack(images) if 'MultiViewImageFromFiles' in text else images[0]
        meta.update(_camera_info(box.__name__, views if inputs['img'].dim() == 4 else 0))
    return pseudo_collate([dict(inputs=inputs, data_samples=Det3DDataSample(metainfo=meta))])


def pipeline_steps(cfg: Config) -> list[dict[str, Any]]:
    """All steps of the test pipeline, those inside of others included."""
    steps, queue = (
        [],
        list(cfg.get('test_pipeline') or cfg.test_dataloader.dataset.get('pipeline', [])),
    )
    while queue:
        step = queue.pop(0)
        steps.append(step)
        queue = [*(step.get('transforms') or []), *queue]
    return steps


def _points(
    cfg: Config, model: ConfigDict, steps: list, indoor: bool, generator: torch.Generator
) -> Tensor:
    """Points in a part of the range, on surfaces: half of them on a floor."""
    layer = model.data_preprocessor.get('voxel_layer') or {}
    area = INDOOR if indoor or not layer else list(layer.point_cloud_range)
    low, high = torch.tensor(area[:3], dtype=torch.float), torch.tensor(area[3:], dtype=torch.float)
    middle = (low + high) / 2
    low, high = torch.maximum(low, middle - CORNER / 2), torch.minimum(high, middle + CORNER / 2)
    points = low + (high - low) * torch.rand(NUM_POINTS, 3, generator=generator)
    points[: NUM_POINTS // 2, 2] = low[2] + 0.1 * (high - low)[2]
    others = torch.rand(NUM_POINTS, _num_columns(model, steps) - 3, generator=generator)
    return torch.cat((points, others), 1)


def _num_columns(model: ConfigDict, steps: list) -> int:
    encoder = model.get('voxel_encoder') or model.get('pts_voxel_encoder') or {}
    for key in ('num_features', 'in_channels'):
        if encoder.get(key):
            return encoder[key]
    middle = model.get('middle_encoder') or model.get('pts_middle_encoder') or {}
    if middle.get('in_channels') and 'Dynamic' in encoder.get('type', ''):
        return middle.in_channels
    columns = 4
    for step in steps:
        if step['type'].endswith('LoadPointsFromFile'):
            use = step.get('use_dim', 4)
            columns = len(use) if isinstance(use, (list, tuple)) else use
            columns += bool(step.get('shift_height'))
    return columns


def _camera_info(box: str, views: int) -> dict[str, Any]:
    """Meta information of one camera, or of several of one sample."""
    width, height = SIZE[1], SIZE[0]
    intrinsic = np.array(
        [[width, 0, width / 2, 0], [0, width, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        dtype=np.float32,
    )
    # Axes of a camera from those of a LiDAR: x to the right, y down, z ahead.
    turn = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    if box.startswith('Depth'):
        turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 2], [0, 0, 0, 1]], dtype=np.float32)
    info = _image_info(SIZE)
    info.update(
        cam2img=intrinsic,
        lidar2cam=turn,
        lidar2img=intrinsic @ turn,
        depth2img=intrinsic @ turn,
        trans_mat=np.diag([0.25, 0.25, 1.0]).astype(np.float32),
        affine_aug=False,
    )
    info['ori_cam2img'] = info['cam2img']
    if views:
        keys = ('cam2img', 'ori_cam2img', 'lidar2cam', 'lidar2img', 'depth2img')
        for key in (*keys, 'img_shape', 'pad_shape', 'scale_factor', 'flip'):
            info[key] = [info[key]] * views
        info.update(num_views=views, num_ref_frames=0, ori_lidar2img=info['lidar2img'])
        info['scale_factor'] = [np.array(factor) for factor in info['scale_factor']]
    return info
