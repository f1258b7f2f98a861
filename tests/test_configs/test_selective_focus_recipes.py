"""Recipes that learn the whole network: what each of them changes, and that they are in order."""

import pytest
from helpers import ROOT
from mmengine.config import Config

from mmptq.ptq import Distillation
from mmptq.ptq.stages.recipe import build_stages


def stages_of(name):
    return Config.fromfile(ROOT / f'configs/_base_/recipes/{name}.py').stages


def last(name):
    return stages_of(name)[-1].to_dict()


@pytest.mark.parametrize('name', ['network', 'network_hessian', 'selective_focus_rounding'])
def test_rounding_and_scales_of_the_network_are_learned(name):
    stage = build_stages(stages_of(name))[-1]
    assert stage.granularity == 'network'
    assert stage.settings.training.rounding is not None
    assert stage.settings.training.act_lr > 0


@pytest.mark.parametrize(
    'name', ['selective_focus', 'selective_focus_no_focus', 'selective_focus_no_selection']
)
def test_weights_and_scales_of_the_network_are_learned(name):
    stage = build_stages(stages_of(name))[-1]
    assert isinstance(stage, Distillation) and stage.loss.whole_network


def test_the_weights_of_errors_are_all_that_hessian_adds():
    assert last('network_hessian') == dict(
        last('network'), importance=dict(type='FisherImportance')
    )


def test_rounding_differs_from_network_by_the_loss_alone():
    changed = dict(loss=None, task_loss=dict(type='SemanticFocusLoss'))
    assert last('selective_focus_rounding') == last('network') | changed


def test_ablations_change_the_loss_alone():
    full = last('selective_focus')
    for name, option in (('no_focus', 'focus'), ('no_selection', 'selection')):
        loss = {**full['loss'], option: False}
        assert last(f'selective_focus_{name}') == dict(full, loss=loss)
