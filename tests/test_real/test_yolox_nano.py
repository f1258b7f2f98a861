"""YOLOX-nano with its authors' weights on real images: INT8 keeps its AP."""

from pathlib import Path

import pytest
from helpers import ROOT, run_tool

from mmptq.report import read_record

pytestmark = pytest.mark.slow

CONFIG = ROOT / 'configs/mse/yolox_nano_mse_int8_coco-mini.py'
ONE_LAYER_FLOAT = ROOT / 'configs/mse/yolox_nano_mse_int8-pertensor_coco-mini.py'
FLOAT_CONFIG = ROOT / 'configs/yolox/yolox_nano_coco-mini.py'
SENSITIVE = 'backbone.stage1.0.depthwise_conv.conv'
NO_FLOAT_EVALUATION = 'train_cfg.val_float=False'
RECORDS = ('result', 'coverage')


@pytest.fixture(scope='module')
def quantize(real_data, tmp_path_factory):
    """Function that runs tools/ptq.py and returns its result and its coverage rows."""

    def run(config: Path, *arguments: str) -> tuple[dict, list[dict]]:
        work_dir = tmp_path_factory.mktemp('work')
        run_tool('ptq', config, '--work-dir', work_dir, *arguments)
        return tuple(read_record(work_dir, kind) for kind in RECORDS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMPTQ_DATA', str(real_data))
        yield run


@pytest.fixture(scope='module')
def int8(quantize):
    return quantize(CONFIG)


@pytest.fixture
def float_ap(int8) -> float:
    return ap_of(int8[0], 'float')


def ap_of(result: dict, key: str = 'quantized') -> float:
    return result[key]['coco/bbox_mAP']


def test_int8_keeps_ninety_percent_of_the_ap(int8, float_ap):
    result, coverage = int8
    assert result['num_samples'] <= 64
    assert float_ap == pytest.approx(0.308, abs=0.003)
    assert ap_of(result) >= 0.9 * float_ap
    # No way out: every layer has an 8-bit weight and an 8-bit input.
    assert len(coverage) > 100
    assert {row['weight'] for row in coverage} == {'int8 sym narrow per-channel'}
    assert {row['input'] for row in coverage} == {'uint8 asym per-tensor', 'uint8 asym per-channel'}


def test_plain_min_max_does_not(quantize, float_ap):
    options = (NO_FLOAT_EVALUATION, 'ptq=None', 'calibration.num_samples=32')
    arguments = ('--scheme', 'int8', '--recipe', 'minmax', '--cfg-options', *options)
    result, _ = quantize(FLOAT_CONFIG, *arguments)
    assert ap_of(result) < 0.7 * float_ap


def test_with_one_layer_float_one_scale_per_tensor_is_enough(quantize, float_ap):
    result, coverage = quantize(ONE_LAYER_FLOAT, '--cfg-options', NO_FLOAT_EVALUATION)
    assert ap_of(result) >= 0.9 * float_ap
    inputs = {row['layer']: row['input'] for row in coverage if row['kind'] != 'BatchNorm'}
    assert inputs.pop(SENSITIVE) == 'float'
    assert set(inputs.values()) == {'uint8 asym per-tensor'}
    assert len(inputs) > 100


@pytest.mark.parametrize(
    ('scheme', 'inputs', 'share'),
    [('w4a8', 'uint8', 0.5), ('w4a4', 'uint4', 0.2)],
)
def test_eight_bits_where_four_cost_most(quantize, float_ap, scheme, inputs, share):
    # With four bits in all pointwise convolutions nothing is left: .015 and .000.
    options = ('--recipe', 'mse', '--cfg-options', NO_FLOAT_EVALUATION, 'calibration.num_samples=8')
    result, coverage = quantize(FLOAT_CONFIG, '--scheme', scheme, *options)
    exceptions = [row for row in coverage if '8 bit' in row['note']]
    assert sum('sensitive' in row['note'] for row in exceptions) == 8
    assert all('uint8' in row['weight'] and 'uint8' in row['input'] for row in exceptions)
    others = [row for row in coverage if row not in exceptions]
    assert len(others) > 50
    assert all('uint4' in row['weight'] and inputs in row['input'] for row in others)
    assert ap_of(result) > share * float_ap
