"""Which config stands for a folder, and what is made smaller of it, for support_matrix.py."""

import copy
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

PACKAGES = ('mmdet', 'mmdet3d')
# Names of small networks, the first that a folder has counts.
SMALL = (r'r18', r'tiny|nano|[-_]t[-_]|mobilenet', r'r50|s50', r'hv_secfpn')
# More than one kind of detector in a folder.
MORE = (
    'mmdet/cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco',
    'mmdet/reppoints/reppoints-bbox_r50_fpn-gn_head-gn-grid_1x_coco',
    'mmdet/rtmdet/rtmdet-ins_tiny_8xb32-300e_coco',
    'mmdet/ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco',
    'mmdet/yolo/yolov3_d53_8xb8-320-273e_coco',
    'mmdet3d/centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d',
    'mmdet3d/imvoxelnet/imvoxelnet_2xb4_sunrgbd-3d-10class',
)
# Configs that stand for their folder although another one has a smaller name.
CHOSEN = {
    'mmdet/ssd': 'ssd300_coco',
    'mmdet/yolo': 'yolov3_mobilenetv2_8xb24-320-300e_coco',
    'mmdet/cascade_rcnn': 'cascade-rcnn_r50_fpn_1x_coco',
    'mmdet/mask_rcnn': 'mask-rcnn_r50_fpn_1x_coco',
    'mmdet/rtmdet': 'rtmdet_tiny_8xb32-300e_coco',
    'mmdet/cascade_rpn': 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco',
    'mmdet/dcn': 'faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco',
    'mmdet/dcnv2': 'faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco',
    'mmdet/detectors': 'detectors_cascade-rcnn_r50_1x_coco',
    'mmdet/guided_anchoring': 'ga-retinanet_r50-caffe_fpn_1x_coco',
    'mmdet/gcnet': 'mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco',
    'mmdet/hrnet': 'faster-rcnn_hrnetv2p-w18-1x_coco',
    'mmdet/libra_rcnn': 'libra-faster-rcnn_r50_fpn_1x_coco',
    'mmdet/nas_fpn': 'retinanet_r50_nasfpn_crop640-50e_coco',
    'mmdet/res2net': 'faster-rcnn_res2net-101_fpn_2x_coco',
    'mmdet/retinanet': 'retinanet_r50_fpn_1x_coco',
    'mmdet/faster_rcnn': 'faster-rcnn_r50_fpn_1x_coco',
    'mmdet/sort': 'faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval',
    'mmdet/sabl': 'sabl-faster-rcnn_r50_fpn_1x_coco',
    'mmdet3d/nuimages': 'mask-rcnn_r50_fpn_1x_nuim',
    'mmdet3d/imvoxelnet': 'imvoxelnet_8xb4_kitti-3d-car',
    'mmdet3d/pgd': 'pgd_r101-caffe_fpn_head-gn_16xb2-1x_nus-mono3d',
    'mmdet3d/ssn': 'ssn_hv_secfpn_sbn-all_16xb2-2x_nus-3d',
    'mmdet3d/centerpoint': 'centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d',
}
# Networks that other folders also have: they come first, so that the others can point to them.
COMMON = ('faster_rcnn', 'mask_rcnn', 'retinanet', 'dino', 'cascade_rcnn')
WITHOUT_MODELS = ('_base_', 'common')
# Training only: what is left of such a model at test time.
STUDENTS = ('KnowledgeDistillationSingleStageDetector', 'LAD')
CHANNEL_KEYS = (
    *('in_channels', 'out_channels', 'mid_channels', 'base_channels', 'channels', 'num_channels'),
    *('feat_channels', 'point_feat_channels', 'conv_out_channels', 'roi_in_channels'),
    *('aspp_out_channels', 'rfp_inplanes', 'inter_channels', 'conv_channels', 'concat_channels'),
    *('fc_out_channels', 'fc_channels', 'feedforward_channels', 'embed_dims', 'num_feats'),
)
# What changes no layer of a detector at test time.
FOR_TRAINING = (
    *('train_cfg', 'init_cfg', 'num_classes', 'mean', 'std', 'bgr_to_rgb', 'pad_size_divisor'),
    *('frozen_stages', 'norm_eval', 'requires_grad', 'pad_mask', 'mask_pad_value', 'pad_seg'),
    *('seg_pad_value', 'target_means', 'target_stds', 'score_thr', 'batch_augments', 'style'),
)
RANGES = ('point_cloud_range', 'pc_range', 'post_center_range', 'limit_range')


RESNETS = ('ResNet', 'ResNetV1d', 'ResNeXt', 'Res2Net', 'DetectoRS_ResNet', 'TridentResNet')


@dataclass
class Case:
    """One config of one folder.

    Attributes:
        package (str): mmdet or mmdet3d.
        folder (str): Folder of its configs.
        name (str): Name of the config without ending.
    """

    package: str
    folder: str
    name: str

    @property
    def key(self) -> str:
        """PACKAGE/FOLDER/NAME."""
        return f'{self.package}/{self.folder}/{self.name}'

    def read(self) -> Config:
        """The config."""
        return Config.fromfile(configs_of(self.package) / self.folder / f'{self.name}.py')


def configs_of(package: str) -> Path:
    """Folder of the configs that an installed package brings."""
    return Path(find_spec(package).origin).parent / '.mim/configs'


def find_cases() -> list[Case]:
    """One case per folder that has a config of a model, and the cases of ``MORE``."""
    cases = []
    for package in PACKAGES:
        if find_spec(package) is None:
            continue
        folders = {path.name for path in configs_of(package).iterdir()} - {*WITHOUT_MODELS}
        for folder in sorted(folders, key=lambda name: (name not in COMMON, name)):
            names = [path.stem for path in (configs_of(package) / folder).glob('*.py')]
            chosen = CHOSEN.get(f'{package}/{folder}')
            names = [chosen] if chosen in names else sorted(names, key=_rank)
            found = next((name for name in names if _has_model(package, folder, name)), None)
            if found is not None:
                cases.append(Case(package, folder, found))
            more = [key.split('/') for key in MORE if key.startswith(f'{package}/{folder}/')]
            cases += [Case(*key) for key in more if key[-1] != found]
    return cases


def _rank(name: str) -> tuple:
    small = next((i for i, pattern in enumerate(SMALL) if re.search(pattern, name)), len(SMALL))
    return small, len(name), name


def _has_model(package: str, folder: str, name: str) -> bool:
    text = (configs_of(package) / folder / f'{name}.py').read_text()
    return 'model' in text or '_base_' in text


def detector_config(cfg: Config) -> ConfigDict:
    """The model of a config as it predicts, without weights of others.

    Trackers and semi-supervised algorithms count as their detector, distilled ones as the student.
    """
    model = copy.deepcopy(cfg.model)
    if 'data_preprocessor' not in model and cfg.get('data_preprocessor'):
        model.data_preprocessor = copy.deepcopy(cfg.data_preprocessor)
    if 'detector' in model and model.type != 'Detectron2Wrapper':
        outer, model = model.get('data_preprocessor') or {}, model.detector
        if 'data_preprocessor' not in model:
            keys = ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor', 'pad_mask')
            settings = {key: outer[key] for key in keys if key in outer}
            model.data_preprocessor = ConfigDict(type='DetDataPreprocessor', **settings)
    if model.type in STUDENTS:
        model.type = 'SingleStageDetector'
        model.bbox_head.type = {'LDHead': 'GFLHead', 'LADHead': 'PAAHead'}[model.bbox_head.type]
        model.bbox_head.pop('loss_ld', None)
        for key in [key for key in model if key.startswith(('teacher', 'eval_teacher'))]:
            model.pop(key)
    for node in _nodes(model):
        if (node.get('init_cfg') or {}) and 'type' in node:
            node.init_cfg = None
        for key in ('pretrained', 'batch_augments', 'img_roi_head_pretrained'):
            if node.get(key) is not None:
                node[key] = None
    return model


def signature(model: ConfigDict) -> str:
    """The same for models that differ in classes, losses, weights and what is for training only."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            kept = {key: plain(value) for key, value in node.items() if key not in FOR_TRAINING}
            return {key: value for key, value in kept.items() if not key.startswith('loss')}
        if isinstance(node, (list, tuple)):
            return [plain(value) for value in node]
        return node

    return json.dumps(plain(model), sort_keys=True, default=str)


def limit_detections(model: ConfigDict) -> None:
    """Few detections, but some: random weights are sure of nothing."""
    # Masks of learned proposals are those of all proposals.
    most_of = {'max_per_img': 20, 'max_num': 20}
    if any('num_proposals' in node for node in _nodes(model)):
        most_of = {'max_per_img': 40}
    for node in _nodes(model.get('test_cfg') or {}):
        for key, value in node.items():
            if key == 'score_thr' and isinstance(value, float):
                node[key] = 0.0
            elif key in ('nms_pre', 'max_per_img', 'nms_post', 'max_num', 'max_num_pre_nms'):
                most = most_of.get(key, 100)
                node[key] = min(value, most) if isinstance(value, int) and value > 0 else value
    for node in _nodes(model):
        for key in ('num_queries', 'num_proposals'):
            if isinstance(node.get(key), int):
                node[key] = min(node[key], 40)
    rpn = (model.get('test_cfg') or {}).get('rpn')
    if rpn:
        rpn.max_per_img = 40


def narrow(model: ConfigDict, factor: int) -> ConfigDict:
    """A copy with 1/``factor`` of all channels from 64 on; it may not fit together."""
    model = copy.deepcopy(model)
    for node in _nodes(model):
        if 'depth' in node and str(node.get('type')).rpartition('.')[2] in RESNETS:
            node.setdefault('base_channels', 64)
    backbone = model.get('backbone') or {}
    if backbone.get('widen_factor', 0) > 1 and model.get('neck'):
        backbone.update(widen_factor=0.25, deepen_factor=0.33)
        model.neck.update(in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1)
        model.bbox_head.update(in_channels=64, feat_channels=64)
        return model
    if backbone.get('type') == 'HourglassNet':
        small = dict(num_stacks=1, downsample_times=2, feat_channel=16, stage_blocks=[1, 1, 1])
        backbone.update(stage_channels=[16, 16, 24], **small)
        model.bbox_head.update(in_channels=16, num_feat_levels=1)
        return model
    for node in _nodes(model):
        for key in CHANNEL_KEYS:
            if key in node:
                node[key] = _divided(node[key], factor)
    return model


def shrink_range(model: ConfigDict, factor: float) -> ConfigDict:
    """A copy on 1/``factor`` of the length and width of the point clouds."""
    model = copy.deepcopy(model)
    for node in _nodes(model):
        for key, value in node.items():
            if key in RANGES and len(value) == 6:
                node[key] = [x / factor if i % 3 < 2 else x for i, x in enumerate(value)]
            elif key == 'ranges':
                node[key] = [
                    [x / factor if i % 3 < 2 else x for i, x in enumerate(row)] for row in value
                ]
            elif key in ('output_shape', 'sparse_shape', 'grid_size', 'grid_shape', 'n_voxels'):
                node[key] = _shrunk(key, value, factor)
    return model


def _shrunk(key: str, value: Any, factor: float) -> Any:
    if isinstance(value, int):  # the grid of a region of interest
        return value
    if len(value) == 2:
        return [int(x / factor) for x in value]
    flat = 0 if key == 'sparse_shape' else 2  # the axis of the height
    return [x if i == flat else int(x / factor) for i, x in enumerate(value)]


def _divided(value: Any, factor: int) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_divided(x, factor) for x in value)
    wide = isinstance(value, int) and not isinstance(value, bool) and value >= 64
    return math.ceil(value / factor) if wide else value


def _nodes(node: Any) -> Iterator[ConfigDict]:
    """All dicts in a config, outer ones first."""
    if isinstance(node, dict):
        yield node
        for value in list(node.values()):
            yield from _nodes(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _nodes(value)
