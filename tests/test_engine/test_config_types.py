"""Values of the wrong type in a config, and errors of mmengine as sentences."""

import pytest
from mmengine.config import Config

from mmptq.engine.config_types import build_problem, check_types
from mmptq.quantization import QuantizationError


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(quantizer=5), r'quantizer=5 cannot be used: write dict\(weight='),
        (dict(quantizer=dict(weight=8)), r'quantizer.weight=8 .* dict\(bits=8\)'),
        (dict(quantizer=dict(rules='neck')), "quantizer.rules='neck' cannot be used"),
        (dict(stages=dict(type='Calibrator')), 'stages={'),
        (dict(stages='mse'), "stages='mse'"),
        (dict(backend=5), 'or --backend NAME'),
        (dict(randomness=dict(seed='abc')), 'a whole number'),
        (dict(train_dataloader=[dict()]), r'write dict\(dataset='),
        (dict(load_from=5), 'the path of a checkpoint'),
        (dict(train_cfg=dict(type='PTQLoop', val_float='no')), 'True or False'),
    ],
)
def test_wrong_types(cfg, message):
    with pytest.raises(QuantizationError, match=message):
        check_types(Config(cfg))


def test_right_types():
    cfg = dict(quantizer=dict(weight=None, act=dict(bits=8), rules=[]), stages=[], backend=None)
    check_types(Config(dict(cfg, randomness=dict(seed=0, deterministic=True))))
    check_types(Config({}))


def test_errors_of_building():
    error = KeyError('Magic is not in the mmdet::metric registry. Please check whether')
    assert build_problem(error).startswith("the config names 'Magic', which is not in the registry")
    error = TypeError("ResNet.__init__() got an unexpected keyword argument 'foo'")
    assert "argument 'foo'): check its arguments" in build_problem(error)
    assert build_problem(KeyError('instances')) is None
    assert build_problem(TypeError("'int' object is not iterable")) is None
    assert build_problem(KeyError()) is None
