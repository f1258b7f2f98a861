"""The settings of calibration: defaults, unknown keys, wrong values."""

import pytest

from mmptq.ptq.inputs.calibration_settings import CalibrationSettings
from mmptq.quantization import QuantizationError


def test_defaults():
    settings = CalibrationSettings.from_config(None)
    assert (settings.num_samples, settings.overlap, settings.data) == (None, 'error', None)
    assert CalibrationSettings.from_config(dict(num_samples=3, data='x')).data == 'x'


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(samples=5), "unknown key 'samples': use num_samples, overlap, data"),
        (dict(num_samples=0), 'must be at least 1'),
        (dict(num_samples='many'), "num_samples='many' must be a whole number"),
        (dict(num_samples=2.5), 'must be a whole number'),
        (dict(num_samples=True), 'must be a whole number'),
        (dict(overlap='no'), "use 'error' or 'warn'"),
        (dict(nan_points='keep'), "use 'drop' or 'error'"),
        (dict(data=['a', 'b']), 'name one folder'),
        (dict(data=''), 'name one folder'),
        (64, r'use calibration=dict\(num_samples=64\)'),
    ],
)
def test_what_cannot_be_used(cfg, message):
    with pytest.raises(QuantizationError, match=message):
        CalibrationSettings.from_config(cfg)
