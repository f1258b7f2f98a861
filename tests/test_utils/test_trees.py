"""Nested data come back as they were."""

from collections import namedtuple

import pytest
import torch

from mmptq.utils.trees import copy_tensors, flatten, map_tensors, unflatten

Pair = namedtuple('Pair', 'first second')


def test_round_trip_keeps_structure_and_other_values():
    x, y = torch.randn(2), torch.randn(3)
    tree = dict(a=[x, None], b=(1, Pair('text', y)), c=[])
    tensors, structure = flatten(tree)
    assert tensors[0] is x
    assert tensors[1] is y
    back = unflatten(structure, tensors)
    assert back['a'] == [x, None]
    assert back['b'][1] == Pair('text', y)
    assert isinstance(back['b'], tuple)


def test_map_over_several_trees():
    result = map_tensors(torch.add, [torch.ones(1), 'x'], [torch.ones(1), 'x'])
    assert result == [torch.tensor([2.0]), 'x']


def test_copies_are_independent():
    x = torch.zeros(2, requires_grad=True)
    copy = copy_tensors((x,))[0]
    copy.add_(1)
    assert x.sum() == 0
    assert not copy.requires_grad


def test_sparse_tensors_lose_their_index_pairs():
    spconv = pytest.importorskip('spconv.pytorch')
    indices = torch.tensor([[0, 1, 2, 3]], dtype=torch.int32)
    x = spconv.SparseConvTensor(torch.ones(1, 4), indices, [4, 4, 4], 1)
    x.indice_dict['key'] = 'pairs'
    copy = copy_tensors(dict(x=x))['x']
    assert copy.indice_dict == {}
    assert torch.equal(copy.indices, indices)
    assert copy.spatial_shape == [4, 4, 4]
    assert copy.features is not x.features
