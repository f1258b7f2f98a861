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
