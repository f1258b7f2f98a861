"""Quantized checkpoints: plain data, strict loading, the same bits after a reload."""

import json

import pytest
import torch
from helpers import run_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmptq.engine import load_quantized
from mmptq.engine.checkpoint import check_keys, plain, read_checkpoint
from mmptq.quantization import QuantizationError, quantized_layers


@pytest.fixture
def quantized(tiny):
    path, _ = tiny
    run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    return Config.fromfile(path), path.parent / 'work/quantized.pth'


def test_reload_without_a_runner(quantized):
    cfg, checkpoint = quantized
    init_default_scope('mmdet')
    models = [load_quantized(MODELS.build(cfg.model), checkpoint) for _ in range(2)]
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        first, again = (model(x, mode='tensor') for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    layer = quantized_layers(models[0])['backbone.layer1.0.conv1']
    codes = layer.weight / layer.weight_quantizer.scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)


def test_missing_and_unexpected_keys_are_named(quantized):
    cfg, path = quantized
    content = torch.load(path, weights_only=True)
    for change, message in (
        (lambda s: s.pop('bbox_head.retina_cls.weight'), "lacks 1 keys .*'bbox_head.retina_cls"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 keys that the model has not, 'extra'"),
    ):
        state = dict(content['state_dict'])
        change(state)
        torch.save(dict(content, state_dict=state), path)
        cfg.load_from = str(path)
        with pytest.raises(QuantizationError, match=message):
            Runner.from_cfg(cfg).test()
        init_default_scope('mmdet')
        with pytest.raises(QuantizationError, match=message):
            load_quantized(MODELS.build(cfg.model), path)


def test_float_checkpoint_is_tested_as_it_is(tiny):
    path, checkpoint = tiny
    run_tool('test', path, checkpoint)


def test_load_quantized_refuses_a_float_checkpoint(tiny):
    path, checkpoint = tiny
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(path).model)
    with pytest.raises(QuantizationError, match='is a float one'):
        load_quantized(model, checkpoint)


def test_misshapen_keys_are_named():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(QuantizationError, match="another shape for 1 keys .*'weight'"):
        check_keys(model, {'weight': torch.zeros(2, 4), 'bias': torch.zeros(2)}, strict=True)


def test_keys_of_a_distributed_wrapper_are_known():
    model = torch.nn.Linear(3, 2)
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    assert check_keys(model, state, strict=True) == []


def test_plain_data():
    import numpy as np

    data = plain({'a': (1, np.float32(2)), 'b': np.arange(2), 'c': {1, 2}, 3: None})
    assert json.loads(json.dumps(data)) == {'a': [1, 2.0], 'b': [0, 1], 'c': '{1, 2}', '3': None}


def test_not_a_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(QuantizationError, match='no state dict'):
        read_checkpoint(tmp_path / 'list.pth')
    with pytest.raises(QuantizationError, match='does not exist'):
        read_checkpoint(tmp_path / 'none.pth')
