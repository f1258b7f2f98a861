from collections import UserDict
from types import SimpleNamespace

import pytest
import torch
from simulated_cuda import simulated_cuda
from torch import nn

import mmptq
from mmptq.ptq.inputs.model_inputs import device_of, prepare_batch
from mmptq.quantization import QuantizationError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_of_a_model(device):
    assert device_of(Net().to(device)).type == device.type
    assert device_of(nn.ReLU()) == torch.device('cpu')


def test_several_devices_are_refused():
    with simulated_cuda():
        model = Net()
        model.second.to('cuda')
        with pytest.raises(QuantizationError) as error:
            mmptq.quantize(model, [torch.rand(1, 3, 8, 8)])
    assert str(error.value) == (
        "the model is on several devices ('first.weight' is on cpu, 'second.weight' is on "
        "cuda:0): move it to one with model.to('cpu')"
    )


def test_a_model_without_weights_is_refused():
    with pytest.raises(QuantizationError, match="the model has no weights .*'meta'.*: load a"):
        mmptq.quantize(Net().to('meta'), [torch.rand(1, 3, 8, 8)])


def test_mps_is_refused():
    parameter = SimpleNamespace(device=torch.device('mps', 0))
    model = SimpleNamespace(named_parameters=lambda: [('weight', parameter)])
    with pytest.raises(QuantizationError, match=r"'mps' is not supported.*model.to\('cpu'\)"):
        device_of(model)


@pytest.mark.parametrize(
    'batch',
    [
        torch.rand(1, 3, 8, 8),
        (torch.rand(1, 3, 8, 8),),
        dict(x=torch.rand(1, 3, 8, 8)),
        UserDict(x=torch.rand(1, 3, 8, 8)),
    ],
)
def test_batches_on_the_cpu_are_moved(batch):
    with simulated_cuda():
        moved = prepare_batch(Net().to('cuda'), batch)
        (x,) = moved.values() if isinstance(moved, dict) else [moved[0]]
        assert x.device.type == 'cuda'
        model = mmptq.quantize(Net().to('cuda'), [batch])
        assert model(torch.rand(1, 3, 8, 8, device='cuda')).device.type == 'cuda'
