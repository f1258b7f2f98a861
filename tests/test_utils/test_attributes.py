"""Attributes that are replaced for one block of code."""

import pytest
from torch import nn

from mmptq.utils.attributes import replaced_attribute


class Owner:
    def method(self) -> str:
        return 'own'


def test_a_method_comes_back():
    owner = Owner()
    with replaced_attribute(owner, 'method', lambda: 'other'):
        assert owner.method() == 'other'
    assert owner.method() == 'own' and not vars(owner)


def test_an_attribute_of_the_object_is_restored_after_an_error():
    owner = Owner()
    owner.value = None
    with pytest.raises(KeyError), replaced_attribute(owner, 'value', 3):
        assert owner.value == 3
        raise KeyError
    assert vars(owner) == {'value': None}


def test_forward_of_a_module():
    module = nn.Identity()
    with replaced_attribute(module, 'forward', lambda x: x + 1):
        assert module(1) == 2
    assert module(1) == 1 and 'forward' not in vars(module)
