"""Layers whose input comes from no image and no layer."""

import torch
from torch import nn

from mmptq.quantization.graph.trace import trace_layers
from mmptq.quantization.graph.trace_samples import merge_traces


class Net(nn.Module):
    """Layers on all kinds of inputs; the name of each says what it reads."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Embedding(4, 8)
        self.register_buffer('table', torch.rand(4, 8))
        names = 'image after_image after_position query position metric table zeros'
        names += ' filled_by_data mixed sometimes shape random'
        self.layers = nn.ModuleDict({name: nn.Linear(8, 8) for name in names.split()})

    def forward(self, x, scale=None):
        layers = self.layers
        layers['after_image'](layers['image'](x).relu())
        places = torch.arange(8.0, device=x.device).sin() + torch.ones_like(x)
        layers['after_position'](layers['position'](places))
        queries = self.queries.weight.unsqueeze(0).repeat(2, 1, 1)
        layers['query'](queries + torch.zeros_like(queries))
        # Numbers of the data set, as cameras have.
        layers['metric'](torch.special.logit(places.new_tensor([[0.25] * 8])))
        layers['table'](self.table[:2].clone())
        layers['zeros'](x.new_zeros(2, 8))
        filled = x.new_zeros(4, 8)
        rows = filled.view(2, 16)
        filled.numpy()[:] = x.numpy()  # as a compiled extension does
        layers['filled_by_data'](rows.view(4, 8))
        layers['mixed'](places[:1] + x)
        layers['sometimes'](places)
        layers['sometimes'](x)
        layers['shape'](x.new_full((2, 8), x.shape[0]) * torch._shape_as_tensor(x)[0])
        layers['random'](torch.randn(2, 8))


COORDINATES = {'query', 'position', 'metric', 'table', 'zeros'}


def names_of(trace) -> set[str]:
    return {name.split('.')[1] for name, record in trace.layers.items() if record.coordinates}


def test_inputs_that_come_from_nowhere():
    model, x = Net().eval(), torch.rand(4, 8)
    trace = trace_layers(model, (nn.Linear,), lambda: model(x))
    assert names_of(trace) == COORDINATES
    # An input that is made while the model is traced is still an input.
    made = trace_layers(model, (nn.Linear,), lambda: model(torch.full((4, 8), 2.0)))
    assert names_of(made) == COORDINATES
    merged = merge_traces([trace, made], [name for name, _ in model.named_modules()])
    assert names_of(merged) == COORDINATES


def test_the_model_is_a_layer():
    model = nn.Linear(8, 8)
    trace = trace_layers(model, (nn.Linear,), lambda: model(torch.rand(2, 8)))
    assert trace.layers[''].is_first and not trace.layers[''].coordinates
