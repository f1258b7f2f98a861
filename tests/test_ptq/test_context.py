"""The context gives batches, and keeps what stages record."""

import json

import pytest
import torch
from torch import nn

from mmptq.ptq.context import PTQContext
from mmptq.quantization import QuantizationError


@pytest.mark.parametrize(
    ('count', 'chosen'), [(None, [0, 1, 2, 3, 4, 5]), (3, [0, 2, 4]), (4, [0, 1, 3, 4]), (9, None)]
)
def test_a_part_of_the_batches_is_evenly_spread(tmp_path, count, chosen):
    class Model(nn.Module):
        def data_preprocessor(self, batch, training):
            return batch

    batches = [dict(inputs=torch.full((1, 3, 2, 2), index)) for index in range(6)]
    ctx = PTQContext(Model(), batches, tmp_path, seed=0)
    found = [int(data['inputs'].max()) for data in ctx.batches('load', count)]
    assert found == (list(range(6)) if chosen is None else chosen)


def test_records_of_the_run_and_of_its_stages(tmp_path):
    ctx = PTQContext(nn.Linear(1, 1), [], tmp_path, seed=3)
    ctx.record('coverage', [dict(layer='a')])
    ctx.stage = '0-Calibrator'
    ctx.record('ranges', [dict(low=float('-inf'), high=torch.tensor([1.0, float('nan')]))])
    ctx.stage = '1-Calibrator'
    ctx.record('ranges', [dict(low=2)])
    ctx.stage = None
    ctx.record('coverage', [dict(layer='b')])
    content = json.loads((tmp_path / 'run.json').read_text(), parse_constant=pytest.fail)
    assert content['seed'] == 3
    assert content['environment']['torch'] == torch.__version__
    assert content['records'] == [
        dict(kind='coverage', stage=None, rows=[dict(layer='b')]),
        dict(kind='ranges', stage='0-Calibrator', rows=[dict(low=None, high=[1.0, None])]),
        dict(kind='ranges', stage='1-Calibrator', rows=[dict(low=2)]),
    ]


def test_evaluation_needs_an_evaluator(tmp_path):
    ctx = PTQContext(nn.Linear(1, 1), [], tmp_path, seed=0)
    with pytest.raises(QuantizationError, match='cannot evaluate .*val_evaluator'):
        ctx.evaluate()
    ctx.evaluator = lambda num_batches: dict(mAP=num_batches)
    assert ctx.evaluate(2) == dict(mAP=2)
    assert ctx.evaluate() == dict(mAP=None)
    with pytest.raises(QuantizationError, match='num_batches=0 must be at least 1'):
        ctx.evaluate(0)


def test_a_batch_that_the_model_cannot_run_is_one_sentence(tmp_path):
    batches = [torch.zeros(1, 3), torch.zeros(1, 4)]
    ctx = PTQContext(nn.Linear(3, 2).eval(), batches, tmp_path, seed=0)
    ctx.predict(batches[0])
    with pytest.raises(QuantizationError, match='cannot run a batch of the calibration data .*mat'):
        ctx.predict(batches[1])
