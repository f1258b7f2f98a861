"""Budgets and targets of the command line as stages of a recipe."""

import pytest
from mmengine.config import Config

from mmptq.engine.budget_options import with_allocation
from mmptq.engine.ptq_config import add_ptq_arguments, ptq_config
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import make_parser


def config_of(tmp_path, *options: str) -> Config:
    """What tools/ptq.py makes of a float config and options."""
    path = tmp_path / 'float.py'
    path.write_text("model = dict(type='Net')\n")
    parser = make_parser('x')
    add_ptq_arguments(parser)
    return ptq_config(parser.parse_args([str(path), *options]))


@pytest.mark.parametrize(
    ('recipe', 'expected'),
    [
        ('mse', ['BitAllocation', 'Calibrator']),
        ('cle_mse', ['CrossLayerEqualization', 'BitAllocation', 'Calibrator']),
        ('qdrop', ['BitAllocation', 'Calibrator', 'Reconstructor']),
    ],
)
def test_bits_are_chosen_before_the_ranges(tmp_path, recipe, expected):
    options = ('--average-bits', '5', '--size', '4MB', '--bits', 'neck.*=8', 'a=b=w4a8')
    cfg = config_of(tmp_path, '--scheme', 'int8', '--recipe', recipe, *options)
    assert [stage['type'] for stage in cfg.stages] == expected
    stage = next(stage for stage in cfg.stages if stage['type'] == 'BitAllocation')
    assert stage == dict(
        type='BitAllocation', average_bits='5', size='4MB', fixed=['neck.*', 'a=b']
    )
    assert cfg.quantizer.rules[-2].name == 'neck.*'


def test_accuracy_control_comes_last(tmp_path):
    options = ('--max-drop', '0.005', '--metric', 'coco/bbox_mAP_50', '--scores', 'a.json')
    cfg = config_of(tmp_path, '--scheme', 'int8', '--recipe', 'qdrop', *options)
    assert cfg.stages[-1] == dict(
        type='AccuracyControl', max_drop=0.005, metric='coco/bbox_mAP_50', scores='a.json'
    )
    assert len(cfg.stages) == 3
    assert len(config_of(tmp_path, '--scheme', 'int8', '--recipe', 'qdrop').stages) == 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--metric', 'mAP'], '--metric is for --max-drop'),
        (['--scores', 'a.json'], '--scores is for --average-bits'),
        (['--average-bits', '5', '--max-drop', '0.1'], 'breaks --average-bits: give one'),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    with pytest.raises(QuantizationError, match=message):
        config_of(tmp_path, '--scheme', 'int8', '--recipe', 'mse', *options)


def test_stages_of_a_user():
    class Own:
        def run(self, ctx):
            pass

    stage = dict(type='BitAllocation', size='1MB')
    calibrator = dict(type='Calibrator')
    assert with_allocation([calibrator], stage) == [stage, calibrator]
    own = Own()  # has no contract, so it may calibrate
    assert with_allocation([own, calibrator], stage) == [stage, own, calibrator]
