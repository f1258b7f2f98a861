"""Components of stages are built from configs and checked."""

import pytest
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn

from mmptq.losses import LpLoss, TaskLoss
from mmptq.ptq.build import build_component
from mmptq.quantization import QuantizationError


def test_type_by_name_or_class():
    for kind in ('LpLoss', LpLoss):
        assert build_component(dict(type=kind, p=3.0), 'loss', MODELS, nn.Module).p == 3.0


@pytest.mark.parametrize('kind', ['Nope', None])
def test_unknown_type(kind):
    with pytest.raises(QuantizationError, match=f'loss.type={kind!r} is unknown: check the name'):
        build_component(dict(type=kind), 'loss', MODELS, nn.Module)


def test_wrong_kind():
    message = (
        "task_loss.type='LpLoss' cannot be used here: use a subclass of mmptq.losses.*TaskLoss"
    )
    with pytest.raises(QuantizationError, match=message):
        build_component(dict(type='LpLoss'), 'task_loss', MODELS, TaskLoss)


def test_registry_of_the_default_scope(monkeypatch):
    parent = Registry('thing', scope='mmengine')
    child = Registry('thing', parent=parent, scope='child')
    child.register_module(name='Own', module=LpLoss)
    monkeypatch.setattr(DefaultScope, 'get_current_instance', lambda: None)
    with pytest.raises(QuantizationError, match='unknown'):
        build_component(dict(type='Own'), 'loss', parent, nn.Module)
    scope = type('Scope', (), dict(scope_name='child'))
    monkeypatch.setattr(DefaultScope, 'get_current_instance', lambda: scope)
    assert isinstance(build_component(dict(type='Own'), 'loss', parent, nn.Module), LpLoss)
