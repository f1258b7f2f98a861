"""Nested data come back as they were."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmptq.utils.errors import QuantizationError
from mmptq.utils.trees import (
    clone_tensors,
    copy_tensors,
    flatten,
    from_json,
    map_tensors,
    paths,
    tensors_in,
    to_json,
    to_plain,
    unflatten,
)

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


def test_clones_pass_gradients_through():
    x = torch.ones(2, requires_grad=True)
    (y,) = clone_tensors([x])
    y.mul_(3).sum().backward()
    assert x.grad.tolist() == [3, 3]


@dataclass
class Holder:
    tensor: torch.Tensor
    text: str = 'text'


def test_tensors_in_all_kinds_of_data():
    x = [torch.full((1,), float(i)) for i in range(5)]
    sample = InstanceData(scores=x[3], metainfo=dict(scale=x[4]))
    found = list(tensors_in([x[0], dict(a=(x[1], None, 7)), Holder(x[2]), sample, Holder]))
    assert sorted(y.item() for y in found) == [0, 1, 2, 3, 4]


def test_structures_as_plain_data():
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    tensors, structure = flatten(([a, None], dict(reg=b), (c,)))
    plain = to_json(structure)
    assert plain == {'tuple': [{'list': [0, None]}, {'dict': {'reg': 1}}, {'tuple': [2]}]}
    back = unflatten(from_json(plain), tensors)
    assert isinstance(back, tuple) and isinstance(back[2], tuple)
    assert back[0] == [a, None]
    assert back[1]['reg'] is b


def test_plain_structures_hold_tensors_only():
    with pytest.raises(QuantizationError, match='returns a str'):
        to_json(flatten(['text'])[1])


def test_plain_data():
    data = {3: (1, np.float32(2)), 'b': np.arange(2), 'c': torch.ones(1), 'd': {4}, 'e': None}
    expected = {'3': [1, 2.0], 'b': [0, 1], 'c': [1.0], 'd': '{4}', 'e': None}
    assert to_plain(data) == expected
    assert type(to_plain(data)['3'][1]) is float


def test_paths_are_in_the_order_of_the_tensors():
    tensors = [torch.full((1,), float(i)) for i in range(5)]
    tree = (
        [tensors[0], None, tensors[1]],
        {'box': Pair(tensors[2], 'text'), 'cls': [{}, (tensors[3],)]},
        tensors[4],
    )
    assert paths(tree) == [(0, 0), (0, 2), (1, 'box', 0), (1, 'cls', 1, 0), (2,)]
    assert [float(x) for x in flatten(tree)[0]] == [0, 1, 2, 3, 4]
    assert paths(tensors[0]) == [()]
    assert paths({'a': 1}) == []


def test_dataclasses_and_dicts_of_other_classes_keep_their_class():
    @dataclass(frozen=True)
    class Result:
        map: torch.Tensor
        rest: object

    class Named(OrderedDict):
        extra = 'kept'

    x, y = torch.ones(1), torch.ones(2)
    tree = Result(x, Named(y=y, name='y'))
    tensors, structure = flatten(tree)
    assert tensors[0] is x and tensors[1] is y
    assert paths(tree) == [('map',), ('rest', 'y')]
    back = unflatten(structure, [2 * x, 3 * y])
    assert type(back) is Result and type(back.rest) is Named
    assert back.map == 2 and back.rest['name'] == 'y'
    assert torch.equal(back.rest['y'], 3 * y)
    assert tree.map is x and tree.rest['y'] is y


def test_tensors_in_attributes_of_any_object():
    class Holder:
        pass

    x, y = torch.ones(1), torch.ones(2)
    holder = Holder()
    holder.x, holder.inner, holder.itself = x, Holder(), holder
    holder.inner.y, holder.inner.model = [y], torch.nn.Linear(1, 1)
    assert [id(z) for z in tensors_in([holder])] == [id(x), id(y)]
