"""Two processes over gloo against one."""

import pytest
import torch
import torch.multiprocessing
from fresh_process import preload
from processes import CLOSE, EXACT, LEARNED, SCHEME, batches, detector, quantized, work

from mmptq.ptq import parallel

ALL = {**EXACT, **CLOSE, **LEARNED}


@pytest.fixture(scope='module')
def both(make_once):
    """Results of two processes, by rank."""

    def make(folder):
        preload()
        torch.multiprocessing.start_processes(work, (folder,), 2, start_method='forkserver')

    folder = make_once('processes', make)
    return [torch.load(folder / f'{rank}.pth', weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope='module')
def messages(both):
    return [results['messages'] for results in both]


def test_items_are_dealt_out_and_put_together(messages):
    first, second = messages
    assert (first['shard'], second['shard']) == (['a', 'c', 'e'], ['b', 'd'])
    assert (first['indices'], second['indices']) == ([0, 2], [1, 3])
    assert first['whole'] == second['whole'] == list('abcde')
    assert (first['others'], second['others']) == (['of 1'], ['of 0'])
    assert first['tensors'] == second['tensors'] == [[0], [1]]


def test_work_is_shared_fairly(messages):
    assert [found['work'] for found in messages] == [[1], [0, 2, 3, 4]]


def test_numbers_are_combined(messages):
    for found in messages:
        assert found['agree'] == [True, False]
        assert found['total'] == [2.0, 10.0]
        assert found['gradients'] == [[2.0, 2.0], [3.0]]  # no gradient counts as zero
        assert found['values'] == [0.5]


def test_the_main_process_answers_for_all(messages):
    assert {found['from_main'] for found in messages} == {'rank 0'}
    assert {found['failure'] for found in messages} == {'the file is gone: mend it'}


def test_differences_between_processes_are_refused(messages):
    for found in messages:
        assert found['same'] == ''
        assert found['different'].startswith('process 1 has other numbers than process 0: give')
        assert 'other weights or scales after OwnSamples' in found['own_stage']
        assert 'combine what the processes find with mmptq.ptq.parallel' in found['own_stage']
        assert 'process 1 has other batches than process 0: pass the same' in found['own_batches']


@pytest.mark.parametrize('name', ALL)
def test_all_processes_end_alike(both, name):
    first, second = (results[name] for results in both)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize('name', EXACT)
def test_two_processes_give_the_bits_of_one(both, name):
    one = quantized(EXACT[name])
    assert one.keys() == both[0][name].keys()
    assert [key for key in one if not torch.equal(one[key], both[0][name][key])] == []


@pytest.mark.parametrize('name', CLOSE)
def test_other_ranges_and_biases_are_close(both, name):
    one = quantized(CLOSE[name])
    for key, x in one.items():
        if key.endswith(('scale', 'bias')):
            tolerance = 0.3 if name == 'moving_average' else 1e-5
            torch.testing.assert_close(both[0][name][key], x, rtol=tolerance, atol=1e-5)


@torch.no_grad()
def error(state) -> float:
    """Mean squared difference of the scores from those of the float model."""
    import mmptq

    model = mmptq.quantize(detector(), batches(), SCHEME, EXACT['minmax'])
    model.load_state_dict(state)
    pairs = [(model(**data)[0][0], detector()(**data)[0][0]) for data in batches()]
    return sum((x - y).square().mean().item() for x, y in pairs)


def test_learning_helps_in_two_processes(both):
    plain = error(both[0]['mse'])
    for name in ('brecq', 'qdrop'):
        assert error(both[0][name]) < plain
    changed = [key for key in both[0]['mse'] if key.endswith('weight')]
    for name in ('brecq', 'qdrop', 'one_sample', 'one_per_step', 'telling'):
        assert any(not torch.equal(both[0]['mse'][key], both[0][name][key]) for key in changed)


def test_a_loss_that_is_not_finite_in_one_process_reverts_all(both):
    for results in both:
        assert all(torch.equal(results['mse'][key], x) for key, x in results['broken'].items())


@pytest.mark.parametrize(
    'counts, batch_size, expected',
    [
        ([4], 2, [[2], [2]]),
        ([1], 2, [[1], [1]]),
        ([4, 4], 2, [[1, 1], [1, 1]]),
        ([4, 4], 1, [[1, 0], [0, 1]]),
        ([4, 4], 3, [[2, 1], [1, 2]]),
        ([1, 0], 1, [[1, 0], [1, 0]]),
        ([9, 9, 9], 2, [[1, 1, 0], [1, 0, 1], [0, 1, 1]]),
        ([1, 5], 4, [[1, 2], [1, 2]]),
    ],
)
def test_samples_of_a_step(counts, batch_size, expected):
    found = [parallel.shares(counts, batch_size, step) for step in range(len(expected))]
    assert found == expected


def test_one_process_talks_to_nobody():
    x = torch.nn.Parameter(torch.zeros(2))
    assert parallel.gather(x) == [x] and parallel.from_others(lambda: 1 / 0) == []
    assert parallel.mean_gradients([x], [0.1]) == [0.1] and x.grad is None
    assert parallel.shard([1, 2]) == parallel.gather_shards([1, 2]) == [1, 2]
    assert parallel.fair_shares([3, 1]) == [0, 1] and parallel.own_seed(5) == 5
    parallel.check_same(object(), 'things')
    parallel.barrier()
