"""What evaluators return, as plain Python."""

import json

import numpy as np
import pytest
import torch

from mmptq.utils.metrics import is_number, plain_metrics


def test_scalars_of_any_kind():
    got = plain_metrics(
        dict(
            a=np.float32(0.5),
            b=torch.tensor(3),
            c=torch.tensor([[0.25]], requires_grad=True),
            d=None,
            e='text',
            f=np.array([1, 2]),
            g=np.int64(7),
            h=np.bool_(True),
        )
    )
    expected = dict(a=0.5, b=3, c=0.25, d=None, e='text', f=[1, 2], g=7, h=True)
    assert got == expected
    assert all(type(got[key]) is type(expected[key]) for key in got)
    assert json.loads(json.dumps(got)) == expected
    assert [key for key in got if is_number(got[key])] == ['a', 'b', 'c', 'g']


def test_nested_and_missing():
    nested = dict(car=dict(easy=np.float64(1.0), hard=dict(x=2)), all=3)
    assert plain_metrics(nested) == {'car/easy': 1.0, 'car/hard/x': 2, 'all': 3}
    assert plain_metrics(None) == plain_metrics({}) == {}
    assert plain_metrics(torch.tensor(0.5)) == {'metric': 0.5}
    assert plain_metrics({1: 2}) == {'1': 2}


@pytest.mark.parametrize('value', [True, None, 'a', [1], float('nan'), float('inf')])
def test_what_is_no_number(value):
    assert not is_number(value)
