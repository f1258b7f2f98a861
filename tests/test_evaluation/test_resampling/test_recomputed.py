"""Metrics that nobody knows are computed again by their own code, where that is right."""

import logging
import time

import numpy as np
import pytest

from mmptq.evaluation.resampling import Recomputed, paired_intervals


def mean(results: list) -> dict:
    logging.getLogger('a').warning('not shown')
    print('not shown')
    return dict(mean=np.float32(np.mean(results)), text='a', each=results)


def test_mean(capsys, caplog):
    results = list(range(10))
    one, other = Recomputed(mean, results), Recomputed(mean, [value + 2 for value in results])
    found = paired_intervals(one, other, 20)
    (row,) = found['rows']
    assert [row[key] for key in ('name', 'first', 'difference')] == ['mean', 4.5, 2.0]
    assert (row['low'], row['high']) == pytest.approx((2.0, 2.0))
    assert not capsys.readouterr().out and not caplog.records


def test_a_metric_that_finds_samples_by_their_number():
    with pytest.raises(ValueError, match='ignores a sample that is drawn twice'):
        Recomputed(lambda results: dict(mean=np.mean(list(set(results)))), list(range(10)))


def test_a_slow_metric():
    def slow(results: list) -> dict:
        time.sleep(0.06)
        return dict(mean=np.mean(results))

    with pytest.raises(ValueError, match='too long to repeat it 200 times'):
        Recomputed(slow, list(range(10)))
