"""What observers saw in parts of the data, put together."""

import io

import pytest
import torch

from mmptq.observers import (
    EntropyObserver,
    LpObserver,
    MeanMinMaxObserver,
    MinMaxObserver,
    MovingAverageObserver,
    PercentileObserver,
    lp,
)
from mmptq.quantization import QScheme, QuantizationError

EXACT = [MinMaxObserver, PercentileObserver, EntropyObserver, LpObserver]
SCHEMES = [QScheme(bits=4), QScheme(bits=4, symmetric=True), QScheme(bits=4, channel_axis=1)]


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def one_pass(cls, scheme, updates):
    observer = cls(scheme)
    for update in updates:
        observer.update(*update)
    return observer


def batches(make_values, weighted: bool, count: int = 5, device='cpu') -> list[tuple]:
    result = []
    for seed in range(count):
        x = make_values('student', 1200, seed).view(4, 3, 100) * 3.0**seed
        weight = make_values('relu', 400, seed + 100).view(4, 1, 100) if weighted else None
        result.append((x.to(device), weight if weight is None else weight.to(device)))
    return result


def merged(cls, scheme, shards, observer=None):
    observer = observer or cls(scheme)
    observer.merge([saved_and_loaded(one_pass(cls, scheme, shard).state()) for shard in shards])
    return observer


def assert_same(first, second):
    pairs = zip(first.qparams(), second.qparams(), strict=True)
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in pairs)


@pytest.mark.parametrize('cls', EXACT)
@pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_merged_shards_equal_one_pass(cls, scheme, weighted, seed, make_values, device):
    """Every random split into two or three shards, one of which may be empty: the same bits."""
    data = batches(make_values, weighted, device=device)
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(0, 2 + seed % 2, (len(data),), generator=generator).tolist()
    shards = [[x for x, who in zip(data, owner, strict=True) if who == i] for i in range(3)]
    expected = one_pass(cls, scheme, data)
    assert_same(merged(cls, scheme, shards), expected)
    assert_same(merged(cls, scheme, shards[:0:-1], one_pass(cls, scheme, shards[0])), expected)


@pytest.mark.parametrize('cls', EXACT)
def test_shards_with_and_without_weights(cls, make_values):
    data = batches(make_values, True, 2) + batches(make_values, False, 2)
    expected = one_pass(cls, SCHEMES[0], data)
    assert_same(merged(cls, SCHEMES[0], [data[2:], data[:2]]), expected)


@pytest.mark.parametrize('cls', [*EXACT, MeanMinMaxObserver, MovingAverageObserver])
@pytest.mark.parametrize('scheme', SCHEMES, ids=QScheme.describe)
def test_going_on_from_a_state_is_going_on(cls, scheme, make_values, device):
    data = batches(make_values, False, device=device)
    observer = cls(scheme)
    observer.load_state(saved_and_loaded(one_pass(cls, scheme, data[:2]).state()))
    for update in data[2:]:
        observer.update(*update)
    assert_same(observer, one_pass(cls, scheme, data))
    with pytest.raises(QuantizationError, match='seen values already'):
        observer.load_state(observer.state())


def test_a_state_does_not_change_with_its_observer(make_values):
    for cls in (*EXACT, MeanMinMaxObserver, MovingAverageObserver):
        data = batches(make_values, False)
        observer = one_pass(cls, SCHEMES[0], data[:1])
        state = observer.state()
        receiver = cls(SCHEMES[0])
        receiver.merge([state])
        for each in (observer, receiver):
            each.update(1000 * data[0][0])
        again = cls(SCHEMES[0])
        again.merge([state])
        assert_same(again, one_pass(cls, SCHEMES[0], data[:1]))


def test_mean_of_all_updates():
    updates = [(torch.tensor([low, high]), None) for low, high in ((-1.0, 3.0), (-2.0, 6.0))]
    updates.append((torch.tensor([0.0, 30.0]), None))
    observer = merged(MeanMinMaxObserver, QScheme(), [updates[:1], updates[1:], []])
    assert observer.qparams()[0].item() == pytest.approx(14 / 255)


def test_moving_averages_by_hand():
    """Three updates that end at 8 and one that ends at 4: 7."""
    shards = [[(torch.tensor([8.0]), None)] * 3, [(torch.tensor([4.0]), None)]]
    observer = merged(MovingAverageObserver, QScheme(), shards)
    assert observer.qparams()[0].item() == pytest.approx(7 / 255)


def test_a_large_first_tensor_is_not_kept(monkeypatch, make_values):
    x = make_values('laplace', 900).view(3, 300)
    scheme = QScheme(bits=4, channel_axis=0)
    expected = one_pass(LpObserver, scheme, [(x[:, :100], None), (x[:, 100:], None)])
    monkeypatch.setattr(lp, 'LARGEST_KEPT', 899)
    observer = one_pass(LpObserver, scheme, [(x, None)])
    assert 'kept' not in observer.state()
    assert_same(observer, expected)


@pytest.mark.parametrize(
    ('state', 'message'),
    [
        (one_pass(MinMaxObserver, QScheme(), [(torch.ones(2),)]).state(), 'cannot merge the state'),
        (
            one_pass(LpObserver, QScheme(channel_axis=0), [(torch.ones(2, 2),)]).state(),
            'a state with 2 channels cannot be merged into one with 1',
        ),
        (
            dict(one_pass(LpObserver, QScheme(), [(torch.ones(2),)]).state(), num_bins=64),
            'num_bins=64 cannot be merged into an observer with num_bins=2048',
        ),
    ],
)
def test_states_of_others_are_refused(state, message):
    observer = one_pass(LpObserver, QScheme(), [(torch.ones(2),)])
    with pytest.raises(QuantizationError, match=message):
        observer.merge([state])
