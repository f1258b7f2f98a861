"""Every leaf on a stock config builds, quantizes on random weights and runs.

Only the inputs are smaller than stock, and networks start from random weights: no data, no files.
"""

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmptq.ptq import PTQContext, build_stages
from mmptq.ptq.calibration_data import as_test_dataset, pipeline_of
from mmptq.ptq.run import plan_model, quantize_model
from mmptq.quantization import quantized_layers

IMAGES = [
    'retinanet_r18_fpn_mse_int8_coco',
    'retinanet_r50_fpn_mse_int8_coco',
    'retinanet_r50_fpn_mse_w4a4_coco',
    'fcos_r50_fpn_mse_int8_coco',
    'atss_r50_fpn_mse_int8_coco',
    'faster-rcnn_r50_fpn_mse_int8_coco',
    'yolox_s_mse_int8_coco',
    'rtmdet_s_mse_int8_coco',
]
POINTS = [
    'pointpillars_mse_int8_kitti-3class',
    'second_mse_int8_kitti-3class',
    'centerpoint_pillar02_mse_int8_nus',
    'centerpoint_pillar02_dcn_mse_int8_nus',
    'centerpoint_voxel01_mse_int8_nus',
    'centerpoint_voxel01_dcn_mse_int8_nus',
]
MONO = ['fcos3d_r101_mse_int8_nus']


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
    """The leaf's network on random weights, with BatchNorms that do something."""
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
    assert dataset['pipeline'] == pipeline
    assert dataset['ann_file'] != cfg.val_dataloader.dataset.ann_file
    assert 'PTQLoop' in cfg.train_cfg.type
    assert [hook['type'] for hook in cfg.custom_hooks] == ['QuantizationHook']


@pytest.mark.parametrize('name', IMAGES)
def test_image_leaf(name, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/mse/{name}.py')
    check_data(cfg)
    ctx = quantize(cfg, image_batch(), tmp_path)
    assert len(quantized_layers(ctx.model)) == len(ctx.plan.layers)
    assert not ctx.plan.unsupported


@pytest.mark.parametrize('name', POINTS)
def test_lidar_leaf(name, tmp_path):
    pytest.importorskip('mmdet3d')
    cfg = Config.fromfile(ROOT / f'configs/mse/{name}.py')
    if 'voxel' in name or 'second' in name:
        pytest.importorskip('spconv')
    check_data(cfg)
    ctx = quantize(cfg, point_batch(cfg), tmp_path)
    floats = [layer.name for layer in ctx.plan.layers if not layer.quantized]
    pillars = 'pillar' in name
    assert floats == (['pts_voxel_encoder.pfn_layers.0.linear'] if 'pillar02' in name else floats)
    assert len(floats) == pillars
    kinds = [type(layer).__name__ for layer in quantized_layers(ctx.model).values()]
    assert ('dcn' in name) == any('Deform' in kind for kind in kinds)
    assert pillars != any('SubM' in kind for kind in kinds)


@pytest.mark.parametrize('name', MONO)
def test_mono_leaf(name, tmp_path):
    pytest.importorskip('mmdet3d')
    cfg = Config.fromfile(ROOT / f'configs/mse/{name}.py')
    check_data(cfg)
    ctx = quantize(cfg, mono_batch(), tmp_path)
    assert len(quantized_layers(ctx.model)) == len(ctx.plan.layers)


def test_every_stock_leaf_is_tested():
    for path in (ROOT / 'configs/mse').glob('*.py'):
        if 'mmdet' in path.read_text():
            assert path.stem in IMAGES + POINTS + MONO
