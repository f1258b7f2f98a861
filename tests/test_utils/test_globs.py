import pytest

from mmptq.utils.errors import QuantizationError
from mmptq.utils.globs import match, matches, no_match

NAMES = ['backbone.stem', 'neck.conv', 'backbone.conv1', 'Backbone.conv1']


def test_names_that_fit_in_their_own_order():
    assert match('backbone.*', NAMES, 'skip') == ['backbone.stem', 'backbone.conv1']
    assert match(['*.conv?', 'neck.*', 'neck.conv'], NAMES, 'skip') == NAMES[1:]
    assert match([], NAMES, 'skip') == []


def test_matches():
    assert matches('neck.conv', '*.conv') and matches('neck.conv', ['a', '*.conv'])
    assert not matches('Neck.conv', 'neck.*') and not matches('neck.conv', [])


def test_a_pattern_without_a_match_names_the_closest():
    with pytest.raises(QuantizationError) as error:
        match(['neck.*', 'bakbone.stem'], NAMES, '--groups', 'quantized layer')
    expected = "--groups 'bakbone.stem' matches no quantized layer: the closest is 'backbone.stem'"
    assert str(error.value) == expected


def test_no_names_at_all():
    assert (
        str(no_match('x', [], 'skip', 'unit')) == "skip 'x' matches no unit: the model has no unit"
    )
