"""The range with the smallest error."""

import pytest
import torch

from mmptq.observers import LpObserver, MinMaxObserver
from mmptq.quantization import QScheme, fake_quantize, lp_error

SCHEMES = [
    QScheme(bits=bits, symmetric=symmetric, signed=signed)
    for bits in (2, 4, 8)
    for symmetric, signed in ((False, None), (True, None), (True, True))
]
PER_CHANNEL = QScheme(bits=4, symmetric=True, signed=True, narrow=True, channel_axis=0)


def qparams(cls, x, scheme, **options):
    observer = cls(scheme, **options)
    for piece in x if isinstance(x, (list, tuple)) else [x]:
        observer.update(piece)
    return observer.qparams()


def error(x, found, scheme, p=2.0):
    return lp_error(fake_quantize(x, *found, scheme), x, p, scheme.channel_axis)


def clip_ratio(x, bits, p):
    scheme = QScheme(bits=bits)
    scale, zero_point = qparams(LpObserver, x, scheme, p=p)
    return ((scheme.qmax - zero_point) * scale / x.max()).item()


@pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)
@pytest.mark.parametrize('p', [1.0, 2.0, 2.4, 4.0])
def test_never_worse_than_min_max(values, scheme, p):
    best = error(values, qparams(LpObserver, values, scheme, p=p), scheme, p)
    plain = error(values, qparams(MinMaxObserver, values, scheme), scheme, p)
    # The histogram knows the error of a tensor with isolated outliers to half a percent.
    assert best <= plain * 1.005


@pytest.mark.parametrize('name', ['gaussian', 'laplace', 'student', 'silu'])
def test_much_better_than_min_max_at_few_bits(make_values, name):
    x = make_values(name)
    scheme = QScheme(bits=4)
    best = error(x, qparams(LpObserver, x, scheme), scheme)
    assert best < 0.8 * error(x, qparams(MinMaxObserver, x, scheme), scheme)


@pytest.mark.parametrize('options', [{}, dict(low=0.5, high=1.2), dict(num_candidates=1)])
@pytest.mark.parametrize('symmetric', [True, False])
def test_never_worse_per_channel(make_values, options, symmetric):
    names = ['gaussian', 'laplace', 'relu', 'student', 'silu', 'negative']
    x = torch.stack([make_values(name, 900) for name in names])
    scheme = QScheme(bits=4, symmetric=symmetric, channel_axis=0)
    best = error(x, qparams(LpObserver, x, scheme, **options), scheme)
    plain = error(x, qparams(MinMaxObserver, x, scheme), scheme)
    assert (best <= plain * (1 + 1e-5)).all()


def test_lossless_grids_are_kept():
    """Values on a grid of 256 levels lose nothing at 8 bits with the full range."""
    levels = torch.arange(256).repeat(20).float()
    for x in (levels, (levels - 114) / 57):
        assert error(x, qparams(LpObserver, x, QScheme()), QScheme()) < 1e-9


@pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)
def test_streaming_equals_one_shot(values, scheme):
    # The histogram is the same bit for bit, so the result is too.
    whole = qparams(LpObserver, values, scheme)
    pieces = qparams(LpObserver, values.split(777), scheme)
    backwards = qparams(LpObserver, values.flip(0).split(501), scheme)
    assert whole == pieces == backwards


def test_channel_results_agree_between_tensor_and_histogram(make_values):
    x = make_values('laplace', 4 * 5000).view(4, 5000)
    once = qparams(LpObserver, x, PER_CHANNEL)
    twice = qparams(LpObserver, x.split(2500, dim=1), PER_CHANNEL)
    assert torch.allclose(error(x, once, PER_CHANNEL), error(x, twice, PER_CHANNEL), rtol=0.01)


def test_clip_ratio_rises_with_p():
    """Dense, one-sided, 0.1 % outliers, 4 bits: choosing p is choosing how much to clip."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100000, generator=generator).abs()
    x[:100] = 20 * torch.randn(100, generator=generator).abs()
    ratios = [clip_ratio(x, 4, p) for p in (1, 1.5, 2, 2.4, 3, 4, 6, 8)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.15 and 0.15 < ratios[2] < 0.4 and ratios[-1] > 0.85


def test_sparse_tensor_keeps_its_range_at_eight_bits_only(sparse_values):
    """Little is clipped at 8 bits, and most of the range at 4 bits."""
    assert clip_ratio(sparse_values, 8, 2.0) == pytest.approx(0.95, abs=0.05)
    assert clip_ratio(sparse_values, 4, 2.0) == pytest.approx(0.29, abs=0.05)


def test_zeros_have_no_influence(make_values):
    x = make_values('silu')
    scheme = QScheme(bits=4)
    with_zeros = torch.cat((x, torch.zeros(200000)))
    assert qparams(LpObserver, x, scheme) == qparams(LpObserver, with_zeros, scheme)


def test_fractions_above_one_widen_the_range():
    # Levels 0, s, 2s, 3s: s = 0.4 fits both peaks, and 3s is then 1.2 times the largest value.
    x = torch.tensor([0.4] * 1000 + [0.8] * 1000 + [1.0])
    scheme = QScheme(bits=2)
    scale, _ = qparams(LpObserver, x, scheme, low=0.5, high=1.2)
    assert scale.item() == pytest.approx(0.4)
    assert qparams(LpObserver, x, scheme)[0].item() < 0.35
