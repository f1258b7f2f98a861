"""Stock detectors with layers that only train, or whose weights other code reads."""

import copy

import pytest
from helpers import QUANTIZER
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from stock_models import PYRAMID, STOCK, build_stock, stock_config

import mmptq
from mmptq.quantization import quantized_layers
from mmptq.report import read_record

NEVER = 'never executed in predict mode'


def quantize(model, folder) -> dict[str, dict]:
    batch = demo_mm_inputs(1, [[3, 64, 64]])
    mmptq.quantize(model, [batch], QUANTIZER, [dict(type='Calibrator')], folder)
    return {row['layer']: row for row in read_record(folder, 'coverage')}


def test_task_decomposition_of_tood(tmp_path, monkeypatch):
    monkeypatch.setitem(STOCK, 'tood', 'tood/tood_r50_fpn_1x_coco')
    cfg = stock_config('tood')
    cfg.bbox_head.update(stacked_convs=2, norm_cfg=dict(type='GN', num_groups=PYRAMID // 4))
    rows = quantize(build_stock(cfg), tmp_path)
    for task in ('cls', 'reg'):
        name = f'bbox_head.{task}_decomp.reduction_conv.conv'
        assert rows[name]['weight'] == rows[name]['input'] == 'float'
        assert rows[name]['note'] == f'{NEVER}; other code uses its weight'
        assert rows[f'bbox_head.{task}_decomp.layer_attention.0']['weight'].startswith('int8')
    head = [row for name, row in rows.items() if name.startswith('bbox_head.')]
    assert sum(row['weight'] == 'float' for row in head) == 2


def test_student_of_a_semi_supervised_detector(tmp_path):
    name = 'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco'
    cfg = copy.deepcopy(get_config(f'mmdet::{name}.py').model)
    cfg.detector = stock_config('faster_rcnn')
    model = build_stock(cfg)
    rows = quantize(model, tmp_path)
    student = [row for name, row in rows.items() if name.startswith('student.')]
    assert len(student) > 30
    assert all(row['note'].endswith(NEVER) and row['weight'] == 'float' for row in student)
    layers = quantized_layers(model)
    assert layers and all(name.startswith('teacher.') for name in layers)


@pytest.mark.parametrize(
    'name',
    [
        'autoassign/autoassign_r50-caffe_fpn_1x_coco',
        'centernet/centernet_r18_8xb16-crop512-140e_coco',
    ],
)
def test_heads_without_an_adapter_are_known_before_any_work(name):
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from mmptq.ptq.stages.recipe import build_stages, check_adapter
    from mmptq.quantization import QuantizationError
    from mmptq.utils.config_files import base_config

    cfg = get_config(f'mmdet::{name}.py').model
    cfg.backbone.init_cfg = None
    init_default_scope('mmdet')
    model = MODELS.build(cfg)
    check_adapter(build_stages(base_config('recipe', 'qdrop').stages), model)
    for recipe in ('brecq', 'detptq', 'distill'):
        stages = build_stages(base_config('recipe', recipe).stages)
        with pytest.raises(QuantizationError, match='no adapter for .*; or choose a recipe'):
            check_adapter(stages, model)
