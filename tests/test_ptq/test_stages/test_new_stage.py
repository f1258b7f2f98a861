"""The stage of docs/development/add_stage.md works everywhere, unknown to shared code."""

import pytest
import torch
from doc_examples import python_example, run_example
from helpers import run_tool
from mmengine.config import Config
from mmengine.registry import TASK_UTILS
from torch import nn

import mmptq
from mmptq.ptq import Stage
from mmptq.quantization import QuantizationError
from mmptq.report import read_record, read_run

PAGE = 'docs/development/add_stage.md'
CALIBRATOR = dict(type='Calibrator')
WIDE = dict(type='WideInputs', count=1)


@pytest.fixture
def stage_type():
    yield run_example(PAGE)['WideInputs']
    TASK_UTILS._module_dict.pop('WideInputs')


def test_in_a_recipe(stage_type, tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 16), nn.Linear(16, 4)

        def forward(self, x):
            return self.second(self.first(x).sign().relu() * 255)

    # The second layer's inputs are 0 and 255, on the grid.
    x = torch.tensor([[0.001, 1.0], [0.001, 0.7]])
    model = mmptq.quantize(Net(), [x], recipe=[CALIBRATOR, WIDE, CALIBRATOR], work_dir=tmp_path)
    assert model.first.input_quantizer.scheme.bits == 16
    assert model.second.input_quantizer.scheme.bits == 8
    error = torch.tensor([[0.0, 1.0], [0.0, round(0.7 * 255) / 255]]) - x
    rows = read_record(tmp_path, 'wide_inputs')
    assert [row['layer'] for row in rows] == ['first', 'second']
    expected = (error.norm() / x.norm()).item()
    assert rows[0]['error'] == pytest.approx(expected, rel=1e-4)
    assert read_record(tmp_path, 'coverage')[0]['input'].startswith('uint16')
    run = read_run(tmp_path)
    stages = ['0-Calibrator', '1-WideInputs', '2-Calibrator']
    assert [stage['stage'] for stage in run['stages']] == stages
    assert [r['stage'] for r in run['records'] if r['kind'] == 'wide_inputs'] == ['1-WideInputs']


@pytest.mark.parametrize(
    ('recipe', 'message'),
    [
        ([WIDE, CALIBRATOR], 'WideInputs needs calibrated ranges: put Calibrator before'),
        ([CALIBRATOR, WIDE], 'stale: put Calibrator after WideInputs too'),
    ],
)
def test_a_wrong_order_is_refused(stage_type, recipe, message):
    with pytest.raises(QuantizationError, match=message):
        mmptq.quantize(nn.Linear(2, 16), [torch.ones(1, 2)], recipe=recipe)


def test_the_example_is_short():
    assert len(python_example(PAGE).splitlines()) < 40


@pytest.fixture
def evaluating_stage():
    @TASK_UTILS.register_module()
    class Evaluating(Stage):
        def run(self, ctx):
            ctx.record('metrics', [ctx.evaluate(), ctx.evaluate(3), ctx.evaluate(1)])

    yield
    TASK_UTILS._module_dict.pop('Evaluating')


def test_a_stage_of_the_loop_can_evaluate(tiny, evaluating_stage):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.stages = [dict(type='Evaluating'), dict(type='Calibrator'), dict(type='Evaluating')]
    cfg.dump(path)
    run_tool('ptq', path, '--cfg-options', 'train_cfg.val_float=False')
    work = path.parent / 'work'
    whole, all_three, part = read_record(work, 'metrics')
    assert whole == all_three == read_record(work, 'result')['quantized']
    assert part.keys() == whole.keys()
    first = next(row for row in read_run(work)['records'] if row['kind'] == 'metrics')
    assert first['stage'] == '0-Evaluating'


def test_a_killed_run_leaves_a_readable_file(tmp_path):
    class Killed(Stage):
        def run(self, ctx):
            ctx.record('half', dict(loss=float('nan')))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe = [CALIBRATOR, Killed()]
        mmptq.quantize(nn.Linear(2, 16), [torch.ones(1, 2)], recipe=recipe, work_dir=tmp_path)
    run = read_run(tmp_path)
    assert [stage['stage'] for stage in run['stages']] == ['0-Calibrator']
    assert [record['kind'] for record in run['records']] == ['coverage', 'checks', 'half']
    assert run['records'][2]['rows'] == dict(loss=None)
    assert run['seed'] == 0 and run['version'] == mmptq.__version__
    assert run['environment']['threads'] == torch.get_num_threads()
    with pytest.raises(QuantizationError, match="no record 'result', only coverage, checks, half"):
        read_record(tmp_path, 'result')
    assert {p.name for p in tmp_path.iterdir()} == {'run.json', 'coverage.json'}
