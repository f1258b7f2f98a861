"""Intervals whose limits are known."""

import numpy as np
import pytest

from mmptq.evaluation.resampling import RatioTable, interval_of, is_noise, paired_intervals


def accuracy(values: np.ndarray) -> RatioTable:
    values = np.asarray(values, dtype=float)[:, None]
    return RatioTable(values, np.ones_like(values), dict(accuracy=[0]))


def test_a_constant_difference_has_no_width():
    values = np.random.default_rng(0).random(20)
    (row,) = paired_intervals(accuracy(values), accuracy(values - 0.25), 50)['rows']
    assert [row[key] for key in ('difference', 'low', 'high')] == pytest.approx([-0.25] * 3)
    assert row['first'] == pytest.approx(values.mean()) and not is_noise(row)
    # The values themselves do vary.
    assert row['first_low'] < row['first'] < row['first_high']


def test_limits_are_those_of_a_binomial_mean():
    # Half of 400 samples change by 1: the mean is 0.5 with standard deviation 0.025.
    change = np.arange(400) % 2
    found = paired_intervals(accuracy(np.zeros(400)), accuracy(change), 2000, seed=1)
    (row,) = found['rows']
    assert row['low'] == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert row['high'] == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)
    assert (found['resamples'], found['samples'], found['seed']) == (2000, 400, 1)


def test_noise_and_repeatability():
    random = np.random.default_rng(0)
    one, other = accuracy(random.random(30)), accuracy(random.random(30))
    found = paired_intervals(one, other, 200)
    assert found == paired_intervals(one, other, 200)
    assert found != paired_intervals(one, other, 200, seed=1)
    assert is_noise(found['rows'][0])
    assert interval_of(dict(found, metric='accuracy')) == found['rows'][0]
    assert interval_of(dict(metric='accuracy', reason='no')) is None and interval_of(None) is None


def test_a_ratio_is_one_of_sums():
    table = RatioTable(np.array([[2.0], [0.0]]), np.array([[2.0], [6.0]]), dict(F1=[0]))
    values = table.values(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))['F1']
    assert values[:3] == pytest.approx([0.25, 1.0, 0.0]) and np.isnan(values[3])


def test_sets_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match='same two or more samples, got 3 and 4'):
        paired_intervals(accuracy(np.ones(3)), accuracy(np.ones(4)))
