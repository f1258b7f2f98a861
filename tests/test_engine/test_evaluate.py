"""Evaluation with metrics, evaluators and data sets of any kind, by tools/ptq.py."""

import numpy as np
import pytest
import torch
from helpers import run_tool
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import METRICS

from mmptq.engine import evaluate
from mmptq.engine.evaluate import accept_nothing, collect_in
from mmptq.engine.sample_recorder import kept_results
from mmptq.report import read_record


class OddMetric(BaseMetric):
    """Returns what user code returns: anything but a dict of floats."""

    def process(self, data_batch, data_samples):
        self.results += [len(sample['pred_instances']['scores']) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(
            count=np.int64(len(results)),
            mean=torch.tensor(float(np.mean(results))),
            each=np.array(results),
            nothing=None,
            inner=dict(total=np.float32(sum(results))),
        )


class FileMetric(OddMetric):
    """Only writes a file."""

    def compute_metrics(self, results):
        return None


@pytest.fixture
def registered():
    for cls in (OddMetric, FileMetric):
        METRICS.register_module(module=cls, force=True)
    yield
    for cls in (OddMetric, FileMetric):
        METRICS.module_dict.pop(cls.__name__)


def test_result_of_odd_metrics(tiny, registered):
    path, _ = tiny
    cfg = Config.fromfile(path)
    odd = dict(type='mmengine.OddMetric', prefix='odd')
    cfg.val_evaluator = [odd, dict(type='mmengine.FileMetric', prefix='file'), cfg.val_evaluator]
    inner = cfg.val_dataloader.dataset
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner])
    cfg.dump(path)
    run_tool('ptq', path)
    result = read_record(path.parent / 'work', 'result')
    for key in ('float', 'quantized'):
        found = result[key]
        assert found['odd/count'] == len(found['odd/each']) == 3
        assert found['odd/inner/total'] == sum(found['odd/each'])
        assert found['odd/mean'] == pytest.approx(sum(found['odd/each']) / 3)
        assert found['odd/nothing'] is None
        assert 'coco/bbox_mAP' in found


def test_only_metrics_without_a_result(tiny, registered):
    path, _ = tiny
    cfg = Config.fromfile(path)
    cfg.val_evaluator = dict(type='mmengine.FileMetric', prefix='file')
    cfg.dump(path)
    run_tool('ptq', path)
    assert read_record(path.parent / 'work', 'result')['quantized'] == {}


def test_metrics_are_themselves_again():
    metric = FileMetric()
    evaluator = Evaluator(metric)
    metric.results = [1]
    with accept_nothing(evaluator):
        assert evaluator.evaluate(1) == {}
    assert metric.compute_metrics([1]) is None
    assert 'compute_metrics' not in vars(metric)
    with accept_nothing(None):
        pass


def test_a_number_without_a_name():
    metric = FileMetric()
    metric.compute_metrics = lambda results: np.float32(0.5)
    evaluator = Evaluator(metric)
    metric.results = [1]
    with kept_results(evaluator) as kept, accept_nothing(evaluator):
        assert evaluator.evaluate(1) == {'metric': 0.5}
    assert kept[0].values == {}


def test_metrics_collect_in_the_work_directory(monkeypatch, tmp_path):
    metrics = [FileMetric(), FileMetric(), OddMetric(collect_dir='own'), OddMetric('gpu')]
    evaluator = Evaluator(metrics)
    collect_in(evaluator, tmp_path)
    assert [m.collect_dir for m in metrics] == [None, None, 'own', None]  # one process
    monkeypatch.setattr(evaluate, 'get_world_size', lambda: 2)
    collect_in(evaluator, tmp_path)
    places = [str(tmp_path / f'results_{index}') for index in range(2)]
    assert [m.collect_dir for m in metrics] == [*places, 'own', None]
