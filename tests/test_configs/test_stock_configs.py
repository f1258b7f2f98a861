"""Stock configs by name, with a scheme: they build, quantize on random weights and run.

Only the inputs are smaller than stock, and networks start from random weights: no data, no files.
"""

import numpy as np
import pytest
import torch
from helpers import as_test_dataset, pipeline_of, ptq_settings
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmptq.ptq import PTQContext, build_stages
from mmptq.ptq.inputs.finite_points import with_finite_points
from mmptq.ptq.run import plan_model, quantize_model
from mmptq.quantization import quantized_layers

IMAGES = [
    # config of mmdet, scheme
    ('retinanet/retinanet_r18_fpn_1x_coco', 'w4a4'),
    ('yolox/yolox_s_8xb8-300e_coco', 'int8'),
    ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', 'int8'),
    ('retinanet/retinanet_r50_fpn_1x_coco', 'w4a4'),
    ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', 'int8'),
    ('atss/atss_r50_fpn_1x_coco', 'int8'),
    ('rtmdet/rtmdet_s_8xb32-300e_coco', 'int8'),
]
POINTS = [
    # config of mmdet3d, scheme
    ('pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class', 'int8_lidar'),
    ('second/second_hv_secfpn_8xb6-80e_kitti-3d-3class', 'int8_sparse'),
    ('centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d', 'int8_lidar'),
    (
        'centerpoint/centerpoint_pillar02_second_secfpn_head-dcn_8xb4-cyclic-20e_nus-3d',
        'int8_lidar',
    ),
    ('centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d', 'int8_sparse'),
    (
        'centerpoint/centerpoint_voxel01_second_secfpn_head-dcn_8xb4-cyclic-20e_nus-3d',
        'int8_sparse',
    ),
]
for cases in (IMAGES, POINTS):  # the quick ones first
    count = 3 if cases is IMAGES else 1
    cases[count:] = [pytest.param(*case, marks=pytest.mark.slow) for case in cases[count:]]
MONO = 'fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d'


def image_batch(size: tuple[int, int] = (96, 128), **meta) -> dict:
    from mmdet.structures import DetDataSample

    torch.manual_seed(0)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
            **meta,
        )
    )
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    return pseudo_collate([dict(inputs=image, data_samples=sample)])


def mono_batch() -> dict:
    from mmdet3d.structures import CameraInstance3DBoxes, Det3DDataSample

    batch = image_batch()
    camera = np.array([[100.0, 0, 64, 0], [0, 100, 48, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    sample = Det3DDataSample(
        metainfo=dict(
            batch['data_samples'][0].metainfo,
            cam2img=camera,
            lidar2img=camera,
            box_type_3d=CameraInstance3DBoxes,
            flip=False,
        )
    )
    return pseudo_collate([dict(inputs=dict(img=batch['inputs'][0]), data_samples=sample)])


def point_batch(cfg: Config) -> dict:
    """Points in a corner of the range; their number of columns is that of the config's sweeps."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    columns = 4 if 'kitti' in cfg.filename else 5
    low = torch.tensor([0.0, -8.0, -2.0])
    high = torch.tensor([16.0, 8.0, 0.9])
    points = torch.cat([low + (high - low) * torch.rand(3000, 3), torch.rand(3000, columns - 3)], 1)
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, box_mode_3d=0))
    return pseudo_collate([dict(inputs=dict(points=points), data_samples=sample)])


def build(cfg: Config) -> nn.Module:
    """The network on random weights, with BatchNorms that do something."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(dict(cfg.model, _scope_=cfg.default_scope))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def quantize(cfg: Config, batch: dict, tmp_path) -> PTQContext:
    """What PTQLoop does, on one batch."""
    ctx = PTQContext(build(cfg), [batch], tmp_path, seed=0)
    for stage in cfg.stages:
        for observer in (stage.weight_observer, stage.act_observer):
            observer.num_candidates = 4  # a coarser search than the recipe's, for time
    plan_model(ctx, cfg.quantizer)
    quantize_model(ctx, build_stages(cfg.stages))
    ctx.predict(ctx.first_batch())
    return ctx


def check_data(cfg: Config) -> None:
    """The train split can be turned into calibration data: no wrapper or train pipeline is left."""
    pipeline = pipeline_of(cfg.val_dataloader.dataset)
    dataset = as_test_dataset(cfg.train_dataloader.dataset, pipeline)
    assert dataset['pipeline'] == with_finite_points(pipeline, None)
    assert dataset['ann_file'] != cfg.val_dataloader.dataset.ann_file
    assert 'PTQLoop' in cfg.train_cfg.type
    hooks = [hook['type'] for hook in cfg.custom_hooks]
    assert hooks[-1] == 'QuantizationHook' and 'EMAHook' not in hooks


def smaller(model: Config) -> None:
    """A CenterPoint on 25.6 x 25.6 m, which holds all points of the batch, in place of 102.4."""
    voxels = model.data_preprocessor.voxel_layer
    size, low, high = voxels.voxel_size, voxels.point_cloud_range[2], voxels.point_cloud_range[5]
    area = [-6.4, -12.8, low, 19.2, 12.8, high]
    cells = round(25.6 / size[0])
    voxels.point_cloud_range = area
    if 'point_cloud_range' in model.pts_voxel_encoder:
        model.pts_voxel_encoder.point_cloud_range = area
    encoder = model.pts_middle_encoder
    if 'output_shape' in encoder:
        encoder.output_shape = [cells, cells]
    else:
        encoder.sparse_shape = [encoder.sparse_shape[0], cells, cells]
    model.pts_bbox_head.bbox_coder.pc_range = area[:2]


def settings(package: str, name: str, scheme: str) -> Config:
    cfg = ptq_settings(f'{package}::{name}.py', scheme, 'mse')
    check_data(cfg)
    return cfg


@pytest.mark.parametrize(('name', 'scheme'), IMAGES)
def test_images(name, scheme, tmp_path):
    cfg = settings('mmdet', name, scheme)
    ctx = quantize(cfg, image_batch(), tmp_path)
    assert len(quantized_layers(ctx.model)) == len(ctx.plan.layers)
    assert not ctx.plan.unsupported


@pytest.mark.parametrize(('name', 'scheme'), POINTS)
def test_points(name, scheme, tmp_path):
    pytest.importorskip('mmdet3d')
    if scheme == 'int8_sparse':
        pytest.importorskip('spconv')
    cfg = settings('mmdet3d', name, scheme)
    part = cfg.model.get('pts_backbone', cfg.model.get('backbone'))
    part.layer_nums = [1] * len(part.layer_nums)  # in place of up to 5, for time
    if 'centerpoint' in name:
        smaller(cfg.model)
    ctx = quantize(cfg, point_batch(cfg), tmp_path)
    floats = [layer.name for layer in ctx.plan.layers if not layer.quantized]
    pillars = 'pillar' in name
    assert floats == (['pts_voxel_encoder.pfn_layers.0.linear'] if 'pillar02' in name else floats)
    assert len(floats) == pillars
    kinds = [type(layer).__name__ for layer in quantized_layers(ctx.model).values()]
    assert ('dcn' in name) == any('Deform' in kind for kind in kinds)
    assert pillars != any('SubM' in kind for kind in kinds)


@pytest.mark.slow
def test_mono(tmp_path):
    pytest.importorskip('mmdet3d')
    ctx = quantize(settings('mmdet3d', MONO, 'int8'), mono_batch(), tmp_path)
    assert len(quantized_layers(ctx.model)) == len(ctx.plan.layers)
