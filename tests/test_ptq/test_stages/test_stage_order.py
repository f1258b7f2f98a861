"""Stages say what they need and break; recipes that cannot work are refused when built."""

import pytest
from helpers import ROOT
from mmengine.config import Config
from torch import nn

from mmptq.ptq.stages.recipe import build_stages, check_adapter
from mmptq.quantization import QuantizationError

SHORT = dict(
    calibrate=dict(type='Calibrator'),
    equalize=dict(type='CrossLayerEqualization'),
    reconstruct=dict(type='Reconstructor'),
    select=dict(type='LpSelector'),
    distill=dict(type='Distillation'),
    correct=dict(type='BiasCorrection'),
)


def build(*names: str) -> list:
    return build_stages([SHORT[name] for name in names])


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (
            ['calibrate', 'equalize'],
            'CrossLayerEqualization makes the ranges that Calibrator found stale: '
            'put CrossLayerEqualization before Calibrator',
        ),
        (
            ['calibrate', 'equalize', 'reconstruct'],
            'CrossLayerEqualization makes the ranges that Calibrator found stale: '
            'put CrossLayerEqualization before Calibrator',
        ),
        (
            ['calibrate', 'distill', 'reconstruct'],
            'Reconstructor needs the float model, which Distillation changes: '
            'put Reconstructor before Distillation',
        ),
        (
            ['calibrate', 'correct', 'select'],
            'LpSelector needs the float model, which BiasCorrection changes: '
            'put LpSelector before BiasCorrection',
        ),
        (
            ['calibrate', 'distill', 'distill'],
            'Distillation needs the float model, which the Distillation before it changes: '
            'use Distillation once',
        ),
        (
            ['calibrate', 'distill', 'calibrate'],
            'Calibrator needs the float model, which Distillation changes: '
            'put Calibrator before Distillation',
        ),
        (
            ['calibrate', 'correct', 'calibrate'],
            'Calibrator needs the float model, which BiasCorrection changes: '
            'put Calibrator before BiasCorrection',
        ),
        (
            ['calibrate', 'reconstruct', 'calibrate'],
            'Calibrator would undo what Reconstructor learned: put Calibrator before Reconstructor',
        ),
        (
            ['calibrate', 'reconstruct', 'select'],
            'LpSelector would undo what Reconstructor learned: put LpSelector before Reconstructor',
        ),
        (
            ['calibrate', 'reconstruct', 'equalize', 'calibrate'],
            'CrossLayerEqualization would undo what Reconstructor learned: '
            'put CrossLayerEqualization before Reconstructor',
        ),
        (
            ['reconstruct', 'calibrate'],
            'Reconstructor needs calibrated ranges: put Calibrator before Reconstructor',
        ),
        (
            ['reconstruct'],
            'Reconstructor needs calibrated ranges, and no stage before it gives them: '
            'put Calibrator before Reconstructor',
        ),
        (
            ['equalize'],
            "no stage of the recipe calibrates: add dict(type='Calibrator') to stages",
        ),
        ([], "the recipe has no stage: add dict(type='Calibrator') to stages"),
    ],
)
def test_a_wrong_order_is_refused(names, message):
    with pytest.raises(QuantizationError) as error:
        build(*names)
    assert str(error.value) == message


@pytest.mark.parametrize(
    'names',
    [
        ['equalize', 'calibrate', 'select', 'reconstruct', 'distill'],
        ['calibrate', 'equalize', 'calibrate', 'reconstruct', 'correct'],
        ['calibrate', 'reconstruct', 'reconstruct'],
    ],
)
def test_orders_that_work(names):
    assert [type(stage).__name__ for stage in build(*names)] == [SHORT[n]['type'] for n in names]


@pytest.mark.parametrize('path', sorted((ROOT / 'configs/_base_/recipes').glob('*.py')), ids=str)
def test_every_recipe_has_an_order_that_works(path):
    assert build_stages(Config.fromfile(path).stages)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='Magic'), "there is no stage 'Magic'"),
        (dict(), "there is no stage 'None'"),
        (dict(type='Calibrator', observer='x'), "stage 'Calibrator' does not take .*'observer'"),
        (dict(type='FisherImportance'), "'FisherImportance' is not a stage"),
        (3, "'int' is not a stage"),
    ],
)
def test_what_is_no_stage_is_refused(cfg, message):
    with pytest.raises(QuantizationError, match=message):
        build_stages([cfg])


def test_a_class_with_run_alone_is_a_stage():
    class Own:
        def run(self, ctx):
            pass

    own = Own()
    (found,) = build_stages([own])
    assert found is own


@pytest.mark.parametrize(
    ('cfg', 'refused'),
    [
        (dict(type='Calibrator'), False),
        (dict(type='Reconstructor'), False),
        (dict(type='Reconstructor', granularity='network'), True),
        (dict(type='Reconstructor', importance=dict(type='FisherImportance')), True),
        (dict(type='Reconstructor', task_loss=dict(type='DetectionOutputLoss')), True),
        (dict(type='LpSelector'), True),
        (dict(type='Distillation'), True),
    ],
)
def test_head_outputs_need_an_adapter(cfg, refused):
    stages = build_stages([dict(type='Calibrator'), cfg])
    net = nn.Sequential(nn.Linear(1, 1))
    if not refused:
        return check_adapter(stages, net)
    message = f'{cfg["type"]} compares the outputs of a detector head, and .*Sequential.* mse'
    with pytest.raises(QuantizationError, match=message) as error:
        check_adapter(stages, net)
    assert '\n' not in str(error.value)
    return None
