"""One line says what a run comes to."""

import pytest

from mmptq.report.verdict import number, scheme_name, verdict


def row(difference: float, low: float, high: float) -> dict:
    name = 'coco/bbox_mAP'
    row = dict(name=name, first=0.447, second=0.448, difference=difference, low=low, high=high)
    return dict(metric=name, rows=[row])


RESULT = dict(float={'coco/bbox_mAP': 0.447}, quantized={'coco/bbox_mAP': 0.448})


def test_noise_and_more_than_noise():
    found = verdict(RESULT, row(0.001, -0.002, 0.004))
    assert found['kind'] == 'same'
    assert found['text'] == ('mAP .4470 -> .4480, difference within noise: +.0010 [-.0020, +.0040]')
    found = verdict(RESULT, row(-0.01, -0.02, -0.005))
    assert found['kind'] == 'worse' and '[-.0200, -.0050]' in found['text']
    assert verdict(RESULT, row(0.01, 0.005, 0.02))['kind'] == 'better'


def test_without_intervals():
    text = 'mAP .4470 -> .4480 (+.0010)'
    assert verdict(RESULT, None) == dict(text=text, kind='unknown')
    assert verdict(RESULT, dict(metric='', reason='a'))['text'] == text
    assert verdict(dict(quantized={'a/F1': 0.5}), None)['text'] == 'F1 .5000'
    assert verdict(dict(float={}, quantized={}), None)['text'] == 'not evaluated'
    assert 'no number' in verdict(dict(float={}, quantized=dict(a='b')), None)['text']


@pytest.mark.parametrize(
    ('value', 'text'), [(0.4, '.4000'), (-0.5, '-.5000'), (1.25, '1.2500'), (31.5, '31.50')]
)
def test_numbers(value, text):
    assert number(value) == text


def test_name_of_a_scheme():
    eight = dict(weight='int8 sym narrow per-channel', input='uint8 asym per-tensor')
    four = dict(weight='int4 sym', input='uint8 asym per-tensor')
    floats = dict(weight='float', input='float')
    assert scheme_name([eight, four, eight, floats]) == 'INT8'
    assert scheme_name([eight, four, four]) == 'W4A8'
    assert scheme_name([dict(weight='int4 sym', input='float')]) == 'W4'
    assert scheme_name([floats]) == 'quantized'
