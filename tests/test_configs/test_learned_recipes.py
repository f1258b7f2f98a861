"""Recipes that learn: what they are made of, and that they build."""

import pytest
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import TASK_UTILS

import mmptq.ptq  # noqa: F401 (it registers)

STAGES = {
    'adaround': ['Calibrator', 'Reconstructor'],
    'brecq': ['Calibrator', 'Reconstructor', 'Reconstructor'],
    'qdrop': ['Calibrator', 'Reconstructor'],
    'pd_quant': ['Calibrator', 'Reconstructor'],
    'bias_correction': ['Calibrator', 'BiasCorrection'],
}


@pytest.mark.parametrize('name', STAGES)
def test_recipe_and_leaf(name):
    stages = Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages
    assert [type(TASK_UTILS.build(stage)).__name__ for stage in stages] == STAGES[name]
    assert stages[0].act_observer.type == 'LpObserver'
    leaf = ROOT / f'configs/{name}/retinanet_r18_fpn_{name}_w4a4_demo-coco.py'
    cfg = Config.fromfile(leaf)
    assert cfg.stages == stages
    assert cfg.quantizer.weight.bits == cfg.quantizer.act.bits == 4
    assert [rule.role for rule in cfg.quantizer.rules] == ['first', 'last']


@pytest.mark.parametrize(
    ('name', 'before'),
    [
        ('distill', ['Calibrator']),
        ('brecq_distill', ['Calibrator', 'Reconstructor']),
        ('detptq_brecq_distill', ['Calibrator', 'LpSelector', 'Reconstructor']),
    ],
)
def test_recipe_that_distills(name, before):
    stages = Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages
    built = [type(TASK_UTILS.build(stage)).__name__ for stage in stages]
    assert built == [*before, 'Distillation']
    (leaf,) = [
        *ROOT.glob(f'configs/*/retinanet_r18_fpn_{name}_w4a4_demo-coco.py'),
        *ROOT.glob(f'configs/*/yolox_nano_{name}_w4a8_coco-mini.py'),
    ]
    assert Config.fromfile(leaf).stages == stages


@pytest.mark.parametrize('name', ['mse', 'qdrop', 'brecq', 'detptq', 'detptq_brecq_distill'])
def test_recipe_on_even_channels(name):
    stages = Config.fromfile(ROOT / f'configs/_base_/recipes/cle_{name}.py').stages
    plain = Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages
    assert type(TASK_UTILS.build(stages[0])).__name__ == 'CrossLayerEqualization'
    assert stages[1:] == plain


INLIERQ = {
    'inlierq': {},
    'inlierq_soft': dict(soft=True),
    'inlierq_all': dict(inlier_weight=1.0, anomaly_weight=1.0),
    'inlierq_anomaly': dict(inlier_weight=0.0, anomaly_weight=1.0),
    'inlierq_anomaly_no_topk': dict(inlier_weight=0.0, anomaly_weight=1.0),
    'inlierq_no_topk': {},
    'inlierq_no_curvature': dict(curvature=None),
    'inlierq_recon': {},
    'inlierq_lidar_ptq': {},
}


@pytest.mark.parametrize('name', INLIERQ)
def test_inlierq_and_its_ablations(name):
    stages = Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages
    built = [TASK_UTILS.build(stage) for stage in stages]
    learned = ['Reconstructor'] if name in ('inlierq_recon', 'inlierq_lidar_ptq') else []
    names = [type(stage).__name__ for stage in built]
    assert names == ['Calibrator', 'ScaleRefiner', *learned]
    refiner = built[1]
    assert refiner.num_samples == 64
    assert refiner.loss.k == ('all' if name.endswith('no_topk') else None)
    for key, value in INLIERQ[name].items():
        assert getattr(refiner.importance, key) == value
