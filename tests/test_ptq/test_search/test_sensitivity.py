"""Which layers are quantized while a loss is measured."""

import pytest
import torch
from torch import nn

from mmptq.ptq.search.sensitivity import measure_sensitivity, only_quantized
from mmptq.quantization import QScheme, quantized_layers
from mmptq.quantization.layers import quant_type_of

GROUPS = {'first': {'a', 'b'}, 'second': {'c'}}


@pytest.mark.parametrize(
    ('all_but', 'quantized'), [(None, ['ab', 'c']), ({'a', 'b', 'c', 'd'}, ['cd', 'abd'])]
)
def test_layers_of_a_group_or_of_all_others(all_but, quantized):
    losses = measure_sensitivity(GROUPS, lambda names: ''.join(sorted(names)), all_but)
    assert list(losses.items()) == list(zip(GROUPS, quantized, strict=True))


@pytest.fixture
def model():
    model = nn.ModuleDict(dict(a=nn.Linear(3, 2), b=nn.Linear(2, 2)))
    for name, act in (('a', QScheme(8)), ('b', None)):
        model[name].__class__ = quant_type_of(nn.Linear)
        model[name].attach(QScheme(8, symmetric=True, signed=True), act)
        for slot in (model[name].weight_quantizer, model[name].input_quantizer):
            if act is not None or slot is model[name].weight_quantizer:
                slot.set_qparams(torch.tensor([0.1]), torch.tensor([0]))
    return model


def states(model) -> list[bool]:
    a, b = model['a'], model['b']
    return [s.enabled for s in (a.weight_quantizer, a.input_quantizer, b.weight_quantizer)]


def test_quantizers_of_one_part_of_one_layer(model):
    layers = quantized_layers(model)
    before = states(model)
    with only_quantized(layers, {'a'}, ('input',)):
        assert states(model) == [False, True, False]
        with only_quantized(layers, {'b'}):
            assert states(model) == [False, False, True]
        assert states(model) == [False, True, False]
    with pytest.raises(KeyError), only_quantized(layers, set()):
        raise KeyError
    assert states(model) == before == [True, True, True]
