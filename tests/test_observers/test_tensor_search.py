"""The search per channel on the tensor itself."""

import pytest
import torch

from mmptq.observers import tensor_search
from mmptq.observers.tensor_search import row_errors, search_rows
from mmptq.quantization import QScheme, choose_qparams, fake_quantize, lp_error

FRACTIONS = torch.linspace(1.0, 0.05, 20, dtype=torch.float64)
SCHEMES = [
    QScheme(bits=4, symmetric=True, signed=True, narrow=True, channel_axis=0),
    QScheme(bits=4, channel_axis=0),
    QScheme(bits=16, symmetric=True, channel_axis=0),
]


@pytest.fixture
def rows(make_values):
    names = ['gaussian', 'laplace', 'relu', 'student', 'mostly_zero', 'negative']
    return torch.stack([make_values(name, 500) for name in names])


@pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)
@pytest.mark.parametrize('p', [1.0, 2.0, 2.4])
def test_errors_are_those_of_the_quantizer(rows, scheme, p):
    low, high = 0.7 * rows.amin(1), 0.6 * rows.amax(1)
    expected = lp_error(
        fake_quantize(rows, *choose_qparams(low, high, scheme), scheme), rows, p, channel_axis=0
    )
    actual = row_errors(rows, low, high, scheme, p) / rows.shape[1]
    assert torch.allclose(actual, expected, rtol=1e-4)


def test_symmetric_search_is_exhaustive(rows):
    scheme = SCHEMES[0]
    low, high = rows.amin(1), rows.amax(1)
    found = search_rows(rows, low, high, scheme, FRACTIONS, 2.0)
    brute = torch.stack(
        [row_errors(rows, low * f, high * f, scheme, 2.0) for f in FRACTIONS.float()]
    )
    assert torch.allclose(row_errors(rows, *found, scheme, 2.0), brute.min(0).values)


def test_asymmetric_search_improves_on_shrinking_both_ends(rows):
    scheme = SCHEMES[1]
    low, high = rows.amin(1), rows.amax(1)
    found = row_errors(rows, *search_rows(rows, low, high, scheme, FRACTIONS, 2.0), scheme, 2.0)
    both = torch.stack(
        [row_errors(rows, low * f, high * f, scheme, 2.0) for f in FRACTIONS.float()]
    )
    assert (found <= both.min(0).values * 1.0001).all()
    assert (found < both.min(0).values * 0.99).any()


@pytest.mark.parametrize('size', [1, 700, 10**6])
def test_grouping_does_not_matter(rows, size, monkeypatch):
    arguments = rows, rows.amin(1), rows.amax(1), SCHEMES[1], FRACTIONS, 2.0
    expected = search_rows(*arguments)
    monkeypatch.setattr(tensor_search, 'GROUP_SIZE', size)
    for end, other in zip(search_rows(*arguments), expected, strict=True):
        assert torch.allclose(end, other)
