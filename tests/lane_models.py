"""Tiny lane detectors with random weights, and labelled inputs for them."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from helpers import ROOT
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmptq.ptq import Calibrator, PTQContext
from mmptq.ptq.run import plan_model, quantize_model
from mmptq.quantization import QuantPlan

SIZE = (64, 32)  # width and height of the input
PREPROCESSOR = dict(type='DetDataPreprocessor', mean=[100.0] * 3, std=[60.0] * 3)
BACKBONE = dict(type='ResNet', depth=18, base_channels=8, out_indices=(3,))
HEADS = dict(
    lstr=dict(
        type='LSTRHead',
        in_channels=64,
        score_thr=0.3,
        transformer=dict(
            type='LaneTransformer',
            embed_dims=16,
            num_heads=2,
            feedforward_channels=32,
        ),
    ),
    laneatt=dict(
        type='LaneATTHead',
        in_channels=64,
        image_size=SIZE,
        feat_channels=8,
        num_rows=12,
        num_anchors=60,
        nms_distance=5.0,
    ),
    clr=dict(
        type='CLRHead',
        in_channels=16,
        image_size=SIZE,
        num_priors=32,
        num_rows=12,
        gather=dict(num_points=6, mid_channels=8, context_size=(2, 4)),
        nms_distance=5.0,
    ),
    bezier=dict(type='BezierHead', in_channels=64, window=3, num_samples=20),
    ganet=dict(type='GANetHead', in_channels=16, num_keypoints=8, min_keypoints=1),
    condlane=dict(
        type='CondLaneHead',
        in_channels=16,
        image_size=SIZE,
        feat_channels=16,
        radius=1,
        nms_radius=1.0,
    ),
    segmentation=dict(
        type='LaneSegHead',
        num_lanes=4,
        lane_width=2,
        decoder=dict(type='LinearDecoder', num_classes=5, in_channels=64),
        existence=dict(type='LaneExistence', num_lanes=4, feat_size=(4, 8), in_channels=64),
        decoding=dict(pixel_thr=0.1, row_step=5),
    ),
)
NECKS = dict(
    clr=dict(type='FPN', in_channels=[16, 32, 64], out_channels=16, num_outs=3),
    bezier=dict(type='FeatureFlipNeck', in_channels=64, mid_channels=16),
    condlane=dict(type='TransConvFPN', in_channels=[16, 32, 64], out_channels=16),
    ganet=dict(
        type='DeformFPN',
        in_channels=[16, 32, 64],
        out_channels=16,
        aggregator=dict(feat_channels=16, num_points=3),
    ),
)
STAGES = dict(
    clr=dict(out_indices=(1, 2, 3)),
    bezier=dict(strides=(1, 2, 1, 1)),
    condlane=dict(out_indices=(1, 2, 3)),
    ganet=dict(out_indices=(1, 2, 3)),
    segmentation=dict(strides=(1, 2, 1, 1)),
)
# Of the last layers, so that random weights give lanes.
BIASES = dict(
    clr={'classify.bias': [0, 1], 'locate.bias': [0, 0, 0, 0.7]},
    bezier={'classify.bias': [0.5]},
    lstr={'class_embed.bias': [0, 2], 'specific_embed.layers.2.bias': [0.1, 0.9, 0, -0.5]},
    condlane={'heatmap.2.bias': [0.5], 'row_range.output_bias': [0.0, 0.5]},
    ganet={'heatmap.2.bias': [0.5]},
    laneatt={'cls.bias': [0, 1], 'reg.bias': [8] + [0] * 12},
)
# Parts that only help training.
UNUSED = dict(bezier='lane_head.mask_head.*', clr='lane_head.mask_head.*')


def lane_model_config(family: str) -> dict:
    """``model`` config of a tiny detector of a family."""
    return dict(
        type='LaneDetector',
        data_preprocessor=PREPROCESSOR,
        backbone=BACKBONE | STAGES.get(family, {}),
        neck=NECKS.get(family),
        lane_head=HEADS[family],
    )


def lane_config(family: str, data_root: Path) -> Config:
    """Float config of a tiny detector on demo lanes at a tiny input size."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/demo_lane.py')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=1)
        loader.dataset.data_root = str(data_root)
        for step in loader.dataset.pipeline:
            if step.type == 'LaneResize':
                step.scale = SIZE
        cfg[f'{split}_dataloader'] = loader
    cfg.update(
        default_scope='mmdet',
        model=lane_model_config(family),
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
    )
    return cfg


def build_lane_model(family: str) -> torch.nn.Module:
    """A tiny detector with seeded random weights, in eval mode."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(lane_model_config(family))
    for parameter in model.lane_head.parameters():
        if parameter.dim() > 1:  # small initial weights would give no lane at all
            torch.nn.init.normal_(parameter, std=0.1)
    for name, bias in BIASES.get(family, {}).items():
        model.lane_head.get_parameter(name).data.copy_(torch.tensor(bias))
    return model.eval()


def lane_batch(model: torch.nn.Module, data_root: Path, num_images: int = 2) -> dict:
    """Validation images with their lanes, as the model's forward takes them."""
    init_default_scope('mmdet')
    dataset = DATASETS.build(lane_config('lstr', data_root).val_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(num_images)])
    return model.data_preprocessor(batch, False)


def quantize_lane_model(
    family: str, model: torch.nn.Module, data: dict, quantizer: dict, stages: tuple = ()
) -> QuantPlan:
    """Quantize a model in place: min-max ranges of one batch, then more stages; frozen."""
    rules = [*quantizer['rules']]
    if family in UNUSED:
        rules.append(dict(name=UNUSED[family], weight=None, act=None, reason='unused'))

    observer = dict(type='MinMaxObserver')
    with TemporaryDirectory() as folder:
        ctx = PTQContext(model, [None], Path(folder), 0)
        ctx._prepare = lambda batch: copy.deepcopy(data)
        plan_model(ctx, quantizer | dict(rules=rules))
        quantize_model(ctx, [Calibrator(observer, observer), *stages])
    return ctx.plan


@torch.no_grad()
def raw_outputs(model: torch.nn.Module, data: dict) -> dict[str, torch.Tensor]:
    """Raw outputs of the head."""
    return model(**copy.deepcopy(data), mode='tensor')
