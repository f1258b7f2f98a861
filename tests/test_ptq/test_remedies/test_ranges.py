"""Ranges that suit single layers and harm the outputs are tried in parts."""

from types import SimpleNamespace

import pytest

from mmptq.ptq.remedies.ranges import SPLITS, _try_parts


class Quantizer:
    """Remembers its range."""

    value = 0.0

    def set_qparams(self, value):
        self.value = value


class Outputs:
    """A loss that falls with the ranges of good layers, and rises with those of bad ones."""

    good = False

    def __init__(self, layers, bad):
        self.layers, self.bad, self.tried, self.refreshed = layers, bad, [], 0

    def attempt(self, remedy, change):
        names = change()
        self.tried.append(''.join(names))
        kept = not self.bad & set(names)
        if not kept:
            for name in names:
                self.layers[name].input_quantizer.value = 0.0
        return kept

    def refresh(self):
        self.refreshed += 1


@pytest.mark.parametrize(
    ('bad', 'tried', 'kept'),
    [
        ('', ['abcdefgh'], 'abcdefgh'),
        ('f', ['abcdefgh', 'abcd', 'efgh', 'ef', 'gh'], 'abcdgh'),
        ('ah', ['abcdefgh', 'abcd', 'ab', 'cd', 'efgh', 'ef', 'gh'], 'cdef'),
    ],
)
def test_halves_and_quarters(bad, tried, kept):
    layers = {name: SimpleNamespace(input_quantizer=Quantizer()) for name in 'hgfedcba'}
    outputs = Outputs(layers, set(bad))
    _try_parts(outputs, layers, dict.fromkeys(sorted(layers), (1.0,)), SPLITS)
    assert outputs.tried == tried
    assert {name for name in layers if layers[name].input_quantizer.value} == set(kept)
    assert outputs.refreshed == sum(not set(part) & set(bad) for part in tried)


def test_nothing_is_tried_where_nothing_is_better_or_needed():
    outputs = Outputs({}, set())
    _try_parts(outputs, {}, {}, SPLITS)
    outputs.good = True
    _try_parts(outputs, {}, {'a': (1.0,)}, SPLITS)
    assert outputs.tried == []
