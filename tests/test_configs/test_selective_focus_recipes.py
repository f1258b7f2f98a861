"""Recipes that learn the whole network: what each of them changes, and that they are in order."""

import pytest
from helpers import ROOT
from mmengine.config import Config

from mmptq.ptq.stages.recipe import build_stages

NAMES = (
    'network',
    'network_hessian',
    'selective_focus',
    'selective_focus_no_focus',
    'selective_focus_no_selection',
)


def last(name):
    return Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages[-1].to_dict()


@pytest.mark.parametrize('name', NAMES)
def test_the_last_stage_learns_the_network(name):
    stages = build_stages(Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages)
    assert stages[-1].granularity == 'network'
    assert stages[-1].settings.training.rounding is not None
    assert stages[-1].settings.training.act_lr > 0


def test_the_weights_of_errors_are_all_that_hessian_adds():
    assert last('network_hessian') == dict(
        last('network'), importance=dict(type='FisherImportance')
    )


def test_ablations_change_the_loss_alone():
    full = last('selective_focus')
    assert full['loss'] is None
    for name, option in (('no_focus', 'focus'), ('no_selection', 'selection')):
        task_loss = {**full['task_loss'], option: False}
        assert last(f'selective_focus_{name}') == dict(full, task_loss=task_loss)
