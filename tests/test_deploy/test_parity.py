"""Signal-to-noise and what is refused."""

import numpy as np
import pytest

from mmptq.deploy.parity import Parity, SignalToNoise, check_parity, parity_rows
from mmptq.quantization import QuantizationError


def test_decibel_by_hand():
    meter = SignalToNoise()
    meter.update(np.array([10.0, 0.0]), np.array([9.0, 0.0]))
    assert meter.decibel == pytest.approx(20)
    meter.update(np.array([30.0]), np.array([30.0]))
    assert meter.decibel == pytest.approx(30)


def test_ends_of_the_scale():
    same, nothing, broken = SignalToNoise(), SignalToNoise(), SignalToNoise()
    same.update(np.ones(3), np.ones(3))
    nothing.update(np.zeros(3), np.ones(3))
    broken.update(np.ones(3), np.array([1, np.nan, 1]))
    assert same.decibel == 200
    assert nothing.decibel < -100
    assert broken.decibel == -np.inf


def test_shapes_must_agree():
    with pytest.raises(QuantizationError, match=r'shape \(2,\) and the model one of \(3,\)'):
        SignalToNoise().update(np.ones(3), np.ones(2))


@pytest.mark.parametrize(
    ('file_db', 'model_db', 'message'),
    [(10.0, 30.0, 'the operators of the file'), (40.0, 5.0, 'the simulated model')],
)
def test_too_far_apart(file_db, model_db, message):
    good, bad = Parity('a', 40.0, 30.0), Parity('boxes', file_db, model_db)
    check_parity([good], 'openvino')
    with pytest.raises(QuantizationError, match=f"openvino computes 'boxes' with .*{message}"):
        check_parity([good, bad], 'openvino')
    check_parity([good, bad], 'openvino', least=4.0)


def test_rows():
    (row,) = parity_rows([Parity('a', 40.123, 30.0)])
    assert list(row.values()) == ['a', 40.1, 30.0]
