"""Stock detectors with random weights, narrowed where their config allows, for tests."""

import copy

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import nn

STOCK = {
    'retinanet': 'retinanet/retinanet_r18_fpn_1x_coco',
    'ssd': 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco',
    'atss': 'atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco',
    'fcos': 'fcos/fcos_r18_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco',
    'gfl': 'gfl/gfl_r50_fpn_1x_coco',
    'rtmdet': 'rtmdet/rtmdet_tiny_8xb32-300e_coco',
    'yolox': 'yolox/yolox_nano_8xb8-300e_coco',
    'faster_rcnn': 'faster_rcnn/faster-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco',
    'tood': 'tood/tood_r50_fpn_1x_coco',
    'vfnet': 'vfnet/vfnet_r50_fpn_1x_coco',
    'reppoints': 'reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco',
    'yolof': 'yolof/yolof_r50-c5_8xb8-1x_coco',
    'yolov3': 'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco',
    'rtmdet_ins': 'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco',
    'condinst': 'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance',
    'mask_rcnn': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
    'cascade_rcnn': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco',
    'cascade_mask_rcnn': 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco',
}
TWO_STAGE = ('faster_rcnn', 'mask_rcnn', 'cascade_rcnn', 'cascade_mask_rcnn')
# Detectors with queries.
QUERY_STOCK = {
    'detr': 'detr/detr_r50_8xb2-150e_coco',
    'conditional_detr': 'conditional_detr/conditional-detr_r50_8xb2-50e_coco',
    'dab_detr': 'dab_detr/dab-detr_r50_8xb2-50e_coco',
    'deformable_detr': 'deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco',
    'deformable_two_stage': 'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco',
    'dino': 'dino/dino-4scale_r50_8xb2-12e_coco',
}
NARROW_QUERIES = ('detr', 'dab_detr', 'deformable_detr')  # the others need 256 channels
PYRAMID = 32  # channels of narrowed necks and heads


def stock_config(family: str) -> ConfigDict:
    """Model config of a family of ``STOCK``, with five classes and few channels."""
    cfg = get_config(f'mmdet::{STOCK[family]}.py').model
    cfg.backbone.init_cfg = None
    cfg.data_preprocessor.batch_augments = None
    if cfg.backbone.type == 'ResNet':
        cfg.backbone.update(depth=18, base_channels=8)
        if family == 'yolof':
            cfg.neck.update(in_channels=64, out_channels=PYRAMID, block_mid_channels=16)
            cfg.bbox_head.update(in_channels=PYRAMID)
        else:
            cfg.neck.update(in_channels=[8, 16, 32, 64], out_channels=PYRAMID)
            heads = [cfg[name] for name in ('bbox_head', 'rpn_head') if name in cfg]
            for head in heads:
                head.update(in_channels=PYRAMID, feat_channels=PYRAMID)
    if family == 'tood':
        cfg.bbox_head.stacked_convs = 2
    elif family == 'reppoints':
        cfg.bbox_head.point_feat_channels = PYRAMID
    elif family == 'condinst':
        cfg.mask_head.mask_feature_head.update(in_channels=PYRAMID, feat_channels=PYRAMID)
    if family in TWO_STAGE:
        _narrow_roi_head(cfg)
    else:
        cfg.bbox_head.num_classes = 5
    return cfg


def _narrow_roi_head(cfg: ConfigDict) -> None:
    roi_head = cfg.roi_head
    roi_head.bbox_roi_extractor.out_channels = PYRAMID
    heads = roi_head.bbox_head
    for head in heads if isinstance(heads, list) else [heads]:
        head.update(in_channels=PYRAMID, fc_out_channels=64, num_classes=5)
    if 'mask_head' in roi_head:
        roi_head.mask_roi_extractor.out_channels = PYRAMID
        roi_head.mask_head.update(
            in_channels=PYRAMID, conv_out_channels=16, num_convs=1, num_classes=5
        )
    cfg.test_cfg.rpn.max_per_img = 40


def query_config(family: str) -> ConfigDict:
    """Model config of a family of ``QUERY_STOCK``: five classes, twelve queries, few layers."""
    cfg = get_config(f'mmdet::{QUERY_STOCK[family]}.py').model
    cfg.data_preprocessor.batch_augments = None
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None, frozen_stages=-1)
    cfg.backbone.norm_cfg.requires_grad = True
    dims = PYRAMID if family in NARROW_QUERIES else 256
    cfg.neck.update(in_channels=[64] if len(cfg.neck.in_channels) == 1 else [16, 32, 64])
    cfg.neck.out_channels = dims
    cfg.num_queries = 12
    cfg.encoder.num_layers, cfg.decoder.num_layers = 1, 2
    for coder in (cfg.encoder, cfg.decoder):
        for part in coder.layer_cfg.values():
            if isinstance(part, dict) and 'embed_dims' in part:
                part.embed_dims = dims
        coder.layer_cfg.ffn_cfg.feedforward_channels = 32
    cfg.positional_encoding.num_feats = dims // 2
    cfg.bbox_head.update(num_classes=5, embed_dims=dims)
    cfg.test_cfg = dict(max_per_img=12)
    return cfg


def build_stock(cfg: ConfigDict, spread: float = 0.2) -> nn.Module:
    """The model in eval mode, seeded; ``spread`` widens the outputs of the heads."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg))
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(getattr(module, 'level_embed', None), nn.Parameter):
            nn.init.normal_(module.level_embed)  # mmdet leaves it uninitialised
        elif 'head' in name and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=spread / module.weight[0].numel() ** 0.5)
    return model.eval()


def image_batch(model: nn.Module, num_images: int = 1, size: int = 64) -> dict:
    """Random images as the model's forward takes them, the same ones every time."""
    batch = demo_mm_inputs(num_images, [[3, size, size + 32]] * num_images)
    return model.data_preprocessor(batch, False)  # moves the images to the model's device
