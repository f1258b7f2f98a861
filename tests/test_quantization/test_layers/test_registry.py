"""A layer type that somebody adds."""

import torch
from doc_examples import python_example, run_example
from torch import nn

from mmptq.quantization import QUANT_LAYERS, apply_plan, make_plan, quantizers_off

PAGE = 'docs/development/add_layer.md'


def test_a_new_layer_type_needs_no_other_code():
    assert len(python_example(PAGE).splitlines()) <= 40
    example = run_example(PAGE)
    causal = example['CausalConv1d']
    try:
        torch.manual_seed(0)
        model = nn.Sequential(causal(20, 16, 3), nn.ReLU(), causal(16, 20, 3)).eval()
        x = torch.randn(2, 20, 7)
        expected = model(x)
        quantizer = dict(weight=dict(bits=8, per_channel=True), act=dict(bits=8))
        plan = make_plan(model, quantizer, lambda: model(x))
        apply_plan(model, plan)
        assert [layer.kind for layer in plan.layers] == ['CausalConv1d'] * 2
        assert type(model[0]) is example['QuantCausalConv1d']
        with quantizers_off(model):
            assert torch.equal(model(x), expected)
    finally:
        QUANT_LAYERS.pop(causal)
