"""Weights with NaN or Inf are named before anything is calibrated."""

import pytest
from helpers import QUANTIZER
from odd_models import ConvBN, context, random_model

from mmptq.quantization import QuantizationError

RULE = dict(name='conv', weight=None, act=None)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('name', ['conv.weight', 'bn.running_var', 'bn.bias'])
def test_named_with_the_way_out(name, value):
    model = random_model(ConvBN)
    model.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(QuantizationError) as error:
        context(model)
    assert str(error.value).startswith(f"'{name}' holds NaN or Inf")
    assert str(error.value).endswith("--float 'conv'")
    if name == 'conv.weight':
        ctx = context(model, quantizer=dict(QUANTIZER, rules=[RULE]))
        assert [x.name for x in ctx.plan.layers if x.quantized] == ['stem', 'head']
