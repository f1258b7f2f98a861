"""The cache never takes more than its budget, and gives back what was put in."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from simulated_cuda import simulated_cuda

from mmptq.ptq import ActivationCache
from mmptq.quantization import QuantizationError


def filled(budget, folder, number=6):
    cache = ActivationCache(budget, folder)
    tensors = [
        torch.randn(10, 10, generator=torch.Generator().manual_seed(i)) for i in range(number)
    ]
    for index, tensor in enumerate(tensors):
        cache.append(dict(x=(tensor, index), mask=tensor > 0))
    return cache, tensors


def test_within_the_budget_everything_is_exact(tmp_path):
    cache, tensors = filled(10000, tmp_path)
    assert len(cache) == 6
    for index, tensor in enumerate(tensors):
        assert torch.equal(cache[index]['x'][0], tensor)
        assert cache[index]['x'][1] == index
    assert cache.used_bytes == 6 * 500
    assert not list(tmp_path.iterdir())


def test_entries_are_copies_both_ways(tmp_path):
    cache = ActivationCache(1000, tmp_path)
    x = torch.zeros(3)
    cache.append(x)
    x.add_(1)
    cache[0].add_(1)
    assert cache[0].sum() == 0


@pytest.mark.parametrize(('budget', 'has_file'), [(2000, False), (700, True), (1, True)])
def test_beyond_the_budget(tmp_path, budget, has_file):
    cache, tensors = filled(budget, tmp_path)
    assert cache.half
    assert cache.used_bytes <= budget
    assert bool(list(tmp_path.iterdir())) == has_file
    for index, tensor in enumerate(tensors):
        entry = cache[index]
        assert torch.equal(entry['x'][0], tensor.half().float())
        assert torch.equal(entry['mask'], tensor > 0)
        assert entry['x'][0].dtype == torch.float32
    cache.close()
    assert not list(tmp_path.iterdir())


def test_values_beyond_half_precision_stay_exact(tmp_path):
    cache = ActivationCache(1, tmp_path)
    cache.append(
        (torch.tensor([1e6, 1.0]), torch.tensor([3], dtype=torch.int64), torch.empty(0, 4))
    )
    large, integer, empty = cache[0]
    assert large.tolist() == [1e6, 1.0]
    assert integer.item() == 3
    assert empty.shape == (0, 4)


@pytest.mark.parametrize('budget', [10**6, 900, 1])
def test_exact_entries_keep_their_precision(tmp_path, budget):
    cache = ActivationCache(budget, tmp_path)
    exact = [torch.randn(10, 10) for _ in range(3)]
    for x in exact:
        cache.append(dict(x=x), exact=True)
        cache.append(x)
    for index, x in enumerate(exact):
        assert torch.equal(cache[2 * index]['x'], x)
        assert torch.equal(cache[2 * index + 1], x.half().float() if budget < 10**6 else x)
    assert cache.used_bytes <= budget


def test_exact_entries_alone_never_go_to_half_precision(tmp_path):
    cache = ActivationCache(500, tmp_path)
    for _ in range(3):
        cache.append(torch.zeros(10, 10), exact=True)
    assert not cache.half and cache.used_bytes == 400 and cache.file_bytes == 800


def test_types_that_numpy_lacks_go_to_the_file(tmp_path):
    cache = ActivationCache(1, tmp_path)
    x = torch.randn(3, 5).bfloat16()
    cache.append((x, torch.tensor(2.5), torch.tensor([True, False])))
    found = cache[0]
    assert found[0].dtype == torch.bfloat16 and torch.equal(found[0], x)
    assert found[1].shape == () and found[1] == 2.5 and found[2].tolist() == [True, False]


def test_caches_in_one_folder_have_files_of_their_own(tmp_path):
    caches = [ActivationCache(1, tmp_path) for _ in range(2)]
    for number, cache in enumerate(caches):
        cache.append(torch.full((4,), float(number)))
    assert [cache[0].mean().item() for cache in caches] == [0, 1]
    caches[0].close()
    assert caches[1][0].mean() == 1


def test_sparse_tensors(tmp_path):
    spconv = pytest.importorskip('spconv.pytorch')
    indices = torch.tensor([[0, 1, 2, 3], [0, 2, 2, 2]], dtype=torch.int32)
    cache = ActivationCache(1, tmp_path)
    cache.append([spconv.SparseConvTensor(torch.ones(2, 4), indices, np.array([4, 4, 4]), 1)])
    (x,) = cache[0]
    assert isinstance(x, spconv.SparseConvTensor)
    assert torch.equal(x.indices, indices)
    assert x.features.tolist() == [[1] * 4] * 2


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(self, *args):
        raise OSError(28, 'No space left on device')

    cache = ActivationCache(1, tmp_path / 'cache')
    monkeypatch.setattr('mmptq.ptq.replay.activation_cache.open', full, raising=False)
    with pytest.raises(QuantizationError, match=r'No space left.*cache_budget') as error:
        cache.append(torch.randn(10))
    assert str(tmp_path / 'cache') in str(error.value)


@pytest.mark.parametrize('budget', [10**6, 1])
def test_strides_come_back(tmp_path, budget):
    """A convolution may compute other bits on another layout."""
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    turned, part, wide = torch.randn(4, 6).t(), torch.randn(4, 6)[:, ::2], torch.randn(1).expand(5)
    cache = ActivationCache(budget, tmp_path)
    cache.append([last, turned, part, wide], exact=True)
    found = cache[0]
    assert [x.stride() for x in found] == [last.stride(), turned.stride(), (3, 1), (1,)]
    assert all(map(torch.equal, found, [last, turned, part, wide]))


def test_tensors_that_stay_in_data_samples_count(tmp_path):
    sample = DetDataSample(proposals=InstanceData(bboxes=torch.zeros(10, 4)))
    cache = ActivationCache(10**6, tmp_path)
    cache.append(dict(inputs=torch.zeros(2, 3), data_samples=[sample]), exact=True)
    assert cache.used_bytes == 6 * 4 + 40 * 4
    assert cache[0]['data_samples'][0] is sample
    cache.close()
    assert cache.used_bytes == 0


def test_tiers_of_a_gpu(tmp_path):
    """Half of the budget on the GPU, the rest in CPU memory, then the file."""
    with simulated_cuda() as cuda:
        tensors = [torch.full((10,), float(i), device=cuda) for i in range(6)]
        cache = ActivationCache(160, tmp_path)
        for x in tensors:
            cache.append(x, exact=True)
        kept = [item.tensor for (item,), _ in cache._entries]
        places = [None if x is None else x.device.type for x in kept]
        found = [cache[i] for i in range(6)]
        assert all(x.device == cuda for x in found)
        assert [x.cpu().tolist() for x in found] == [[float(i)] * 10 for i in range(6)]
    assert places == ['cuda', 'cuda', 'cpu', 'cpu', None, None]
    assert cache.used_bytes == 160 and cache.file_bytes == 80
