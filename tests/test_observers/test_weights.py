"""Values that count more or less than others."""

import pytest
import torch

from mmptq.observers import (
    EntropyObserver,
    LpObserver,
    MeanMinMaxObserver,
    MinMaxObserver,
    MovingAverageObserver,
    PercentileObserver,
)
from mmptq.quantization import QScheme, QuantizationError

ALL = [
    MinMaxObserver,
    MeanMinMaxObserver,
    MovingAverageObserver,
    PercentileObserver,
    EntropyObserver,
    LpObserver,
]
ON_HISTOGRAMS = [PercentileObserver, EntropyObserver, LpObserver]
UINT8 = QScheme()


def observed(cls, *updates, scheme=UINT8, **options):
    """Scale and zero point after updates, each a tensor or a pair (x, weight)."""
    observer = cls(scheme, **options)
    for update in updates:
        observer.update(*update) if isinstance(update, tuple) else observer.update(update)
    return observer.qparams()


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize('cls', ALL)
@pytest.mark.parametrize('axis', [None, 1])
def test_weight_zero_is_ignored_and_one_is_no_weight(cls, axis, make_values, device):
    x = make_values('silu', 1200).view(4, 3, 10, 10).to(device)
    garbage = torch.cat((x, x.new_full((1, 3, 10, 10), 1e6)))
    weight = x.new_ones(5, 1, 1, 1)
    weight[4] = 0
    scheme = QScheme(bits=4, channel_axis=axis)
    expected = observed(cls, x, x / 2, scheme=scheme)
    assert same(observed(cls, (x, torch.ones_like(x)), x / 2, scheme=scheme), expected)
    assert same(observed(cls, (garbage, weight), x / 2, scheme=scheme), expected)
    assert same(observed(cls, (x, weight[4:]), x, x / 2, scheme=scheme), expected)


@pytest.mark.parametrize('cls', ON_HISTOGRAMS)
@pytest.mark.parametrize('axis', [None, 0])
def test_a_weight_of_n_is_n_copies(cls, axis, make_values):
    x = make_values('laplace', 900).view(3, 300)
    weight = torch.arange(300) % 4
    copies = x.repeat_interleave(weight, dim=1)
    scheme = QScheme(bits=4, channel_axis=axis)
    # Two updates, so that all observers use histograms.
    expected = observed(cls, copies[:, :200], copies[:, 200:], scheme=scheme)
    updates = (x[:, :100], weight[None, :100]), (x[:, 100:], weight[None, 100:])
    assert same(observed(cls, *updates, scheme=scheme), expected)


@pytest.mark.parametrize('scheme', [QScheme(bits=2), QScheme(bits=2, channel_axis=0)])
def test_lp_by_hand(scheme):
    """Levels 0, s, 2 s, 3 s: a light 8 is clipped so that 1 is exact, a heavy one is not."""
    x = torch.tensor([[1.0, 8.0]])
    light, _ = observed(LpObserver, (x, torch.tensor([[1.0, 0.001]])), scheme=scheme)
    heavy, _ = observed(LpObserver, (x, torch.tensor([[1.0, 10.0]])), scheme=scheme)
    assert light.item() == pytest.approx(1.0, abs=0.05)
    assert heavy.item() == pytest.approx(8 / 3, abs=0.1)


def test_percentile_by_hand():
    """Half of the weight lies above 1, a quarter above 2."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight = torch.tensor([0.5, 0.25, 0.125, 0.125])
    scale, _ = observed(PercentileObserver, (x, weight), percentile=75.0)
    assert scale.item() == pytest.approx(2 / 255, rel=1e-3)


def test_an_update_without_a_value_that_counts_is_no_update():
    """Channel 1 has no value that counts in the second update."""
    first = torch.tensor([[-1.0, 3.0], [-2.0, 6.0]])
    second = torch.tensor([[-3.0, 5.0], [-100.0, 100.0]])
    weight = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    scheme = QScheme(channel_axis=0)
    scale, _ = observed(MeanMinMaxObserver, first, (second, weight), scheme=scheme)
    assert scale.tolist() == pytest.approx([6 / 255, 8 / 255])
    average = dict(scheme=scheme, momentum=0.5)
    scale, _ = observed(MovingAverageObserver, first, (second, weight), **average)
    assert scale.tolist() == pytest.approx([6 / 255, 8 / 255])
    scale, _ = observed(MovingAverageObserver, (second, weight), first, **average)
    assert scale.tolist() == pytest.approx([6 / 255, 8 / 255])
    for cls in (MinMaxObserver, LpObserver):
        scale, _ = observed(cls, (second, weight), scheme=scheme)
        assert scale[1].item() < 1e-9


@pytest.mark.parametrize('axis', [None, 1])
def test_one_weight_per_position(axis, make_values):
    x = make_values('gaussian', 2 * 3 * 4 * 5).view(2, 3, 4, 5)
    position = make_values('relu', 40).view(2, 4, 5)
    for layout in (x, x.contiguous(memory_format=torch.channels_last)):
        observers = [LpObserver(QScheme(bits=4, channel_axis=axis)) for _ in range(3)]
        observers[0].update(layout, position)
        observers[1].update(layout, position.unsqueeze(1))
        observers[2].update(layout, position.unsqueeze(1).expand_as(x).contiguous())
        assert same(observers[0].qparams(), observers[1].qparams())
        assert same(observers[0].qparams(), observers[2].qparams())


def test_position_weights_of_tokens():
    """The channel axis of a per-channel scheme is left out, here the last one."""
    observer = MinMaxObserver(QScheme(channel_axis=-1))
    x = torch.tensor([[[1.0, 2.0], [30.0, 40.0]]])
    observer.update(x, torch.tensor([[1.0, 0.0]]))
    assert observer.qparams()[0].tolist() == pytest.approx([1 / 255, 2 / 255])


@pytest.mark.parametrize(
    ('weight', 'message'),
    [
        (torch.ones(3), r'weight of shape \(3,\) does not fit values of shape \(2, 3, 4\)'),
        (torch.ones(2, 3), 'does not fit'),
        (torch.ones(()), 'does not fit'),
        (torch.full((2, 3, 4), -1.0), 'weights from -1 to -1 cannot be used'),
        (torch.full((2, 3, 4), torch.nan), 'weights from nan to nan cannot be used'),
        (torch.full((2, 3, 4), 1e5), 'from 0 to 32768'),
    ],
)
def test_bad_weights(weight, message):
    observer = MinMaxObserver(UINT8)
    with pytest.raises(QuantizationError, match=message):
        observer.update(torch.ones(2, 3, 4), weight)
    assert not observer.seen
