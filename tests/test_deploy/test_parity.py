"""Signal-to-noise and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmptq.deploy import parity
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
    (row,) = parity_rows([Parity('a', 40.123, 30.0, 44.0, 31.0)])
    assert list(row.values()) == ['a', 40.1, 44.0, 31.0, 30.0]


@pytest.mark.parametrize(
    ('file_db', 'rounding_db', 'warned'),
    [(30.0, 35.9, False), (30.0, 36.1, True), (39.1, 200.0, False), (38.0, 200.0, True)],
)
def test_kernels_beside_rounding(monkeypatch, file_db, rounding_db, warned):
    lines = []
    logger = SimpleNamespace(warning=lines.append)
    monkeypatch.setattr(parity.MMLogger, 'get_current_instance', lambda: logger)
    good = Parity('good', 50.0, 30.0, 50.0)
    parity.warn_of_kernels([good, Parity('bad', file_db, 30.0, rounding_db)], 'openvino')
    assert bool(lines) == warned
    assert all("computes 'bad'" in line for line in lines)


class Scaled:
    """An engine that multiplies its input."""

    output_names = ('y',)

    def __init__(self, factor: float):
        self.factor = factor

    def run(self, x):
        return [x * self.factor]


def test_four_numbers_by_hand():
    (row,) = parity.measure_parity(
        *(Scaled(1.1), Scaled(1.0), lambda x: [2 * x], [torch.ones(1, 1, 2, 2)]),
        nudged=Scaled(1.01),
    )
    found = row.file_db, row.model_db, row.rounding_db, row.pairs_db
    # Noise over signal: 0.1², (0.9 / 2)², 0.01², (1 / 2)².
    assert found == pytest.approx((20, 6.936, 40, 6.021), abs=1e-3)
