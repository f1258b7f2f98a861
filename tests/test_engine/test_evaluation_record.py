"""An evaluation leaves what it saw of each sample, and gives the same metrics as without."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.structures import InstanceData

from mmptq.engine.evaluation_record import EvaluationRecord
from mmptq.evaluation.resampling import interval_of


class Sample(dict):
    """A data sample as metrics get it."""


class MeanScore(BaseMetric):
    """The mean of all scores, and of the first one of each sample."""

    default_prefix = 'own'

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results.append(sample['pred_instances']['scores'].numpy().copy())
            sample['pred_instances']['scores'] *= 0  # as metrics may do

    def compute_metrics(self, results):
        scores = np.concatenate(results)
        return dict(accuracy=scores.mean(), first=float(np.mean([r[0] for r in results])))


class Loop:
    """A val loop of six samples of one box."""

    def __init__(self, metric):
        self.evaluator = Evaluator(metric)
        self.dataloader = type('Loader', (), dict(dataset=list(range(6))))
        self.change = 0.0

    def run(self) -> dict:
        for index in range(6):
            scores = torch.tensor([0.4 + 0.1 * index + self.change])
            found = InstanceData(scores=scores, labels=torch.tensor([1]))
            found.bboxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
            sample = dict(pred_instances=dict(found.items()), img_path=f'{index}.png')
            self.evaluator.process([Sample(sample)], None)
        return self.evaluator.evaluate(6)


@pytest.fixture
def record(tmp_path) -> EvaluationRecord:
    runner = type('Runner', (), dict(val_loop=Loop(MeanScore()), work_dir=str(tmp_path)))
    return EvaluationRecord(runner)


def evaluate(record: EvaluationRecord, change: float = 0.0) -> dict:
    record.runner.val_loop.change = change
    return record.evaluate(lambda num_batches: record.runner.val_loop.run())


def test_intervals_and_shift(record):
    loop = record.runner.val_loop
    plain = loop.run()
    before, after = evaluate(record), evaluate(record, -0.05)
    assert before == plain
    assert 'compute_metrics' not in vars(loop.evaluator.metrics[0])
    assert len(loop.evaluator.metrics) == 1
    pair = record.between(before, after)
    assert pair.first.metrics == pytest.approx(plain)
    found = pair.intervals()
    assert found['metric'] == 'own/accuracy' and found['resamples'] == 1000
    row = interval_of(found)
    values = [row[key] for key in ('first', 'difference', 'low', 'high')]
    assert values == pytest.approx([0.65, -0.05, -0.05, -0.05], abs=1e-6)
    assert {row['name'] for row in found['rows']} == {'own/accuracy', 'own/first'}
    # The recorder saw the scores before the metric changed them.
    sources = [sample.source for sample in pair.first.predictions]
    assert sources == [f'{index}.png' for index in range(6)]
    assert pair.shift()['mean'] == pytest.approx(-0.05)


def test_the_float_evaluation_is_kept_while_a_stage_evaluates_many_times(record):
    before = evaluate(record)
    others = [evaluate(record, -0.01 * index) for index in range(8)]
    pair = record.between(before, others[5])
    assert pair.first.metrics == before and pair.second.metrics == others[5]
    assert record.between(before, others[0]).second is None


def test_why_there_are_no_intervals(record):
    after = evaluate(record)
    pair = record.between({}, after)
    assert pair.intervals() == dict(metric='', reason='no evaluation of the float model was kept')
    assert pair.shift() is None
    part = record.evaluate(lambda num_batches: dict(batches=num_batches), 2)
    assert part == dict(batches=2) and record.between(part, after).first is None
    record.enabled = False
    assert record.between(evaluate(record), after).first is None


def test_a_metric_that_refuses_resampled_sets(record):
    def refuse(metric, results):
        assert len(results) == len({result.tobytes() for result in results}), 'a sample twice'
        return dict(accuracy=1.0)

    record.runner.val_loop.evaluator.metrics[0].__class__ = type(
        'Strict', (MeanScore,), dict(compute_metrics=refuse)
    )
    before, after = evaluate(record), evaluate(record)
    assert after == {'own/accuracy': 1.0}
    assert record.between(before, after).intervals() == dict(
        metric='own/accuracy', reason='AssertionError: a sample twice'
    )
