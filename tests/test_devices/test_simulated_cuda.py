"""What the pretended GPU of the tests refuses and allows, as a GPU does."""

import copy

import pytest
import torch
from simulated_cuda import simulated_cuda
from simulated_tensor import MixedDevicesError
from torch import nn


@pytest.fixture(autouse=True)
def cuda():
    with simulated_cuda() as device:
        yield device


def test_tensors_stay_on_their_device(cuda):
    x = torch.randn(2, 3, device='cuda')
    made = [
        x + 1,
        x[0],
        x.new_zeros(3),
        torch.zeros_like(x),
        x.half(),
        x.to('cuda'),
        torch.zeros(2).to(x),
        torch.zeros(2).cuda(),
        torch.tensor([1.0], device=cuda),
        x.detach(),
        x.new_tensor([1]),
        torch.nn.functional.one_hot(x.long().clamp(0, 1)),
    ]
    assert all(y.device == cuda and y.is_cuda for y in made)
    assert all(y.device.type == 'cpu' for y in (x.cpu(), x.to('cpu'), torch.zeros(2)))
    assert x.sum().item() == x.cpu().sum().item()


@pytest.mark.parametrize(
    'mix',
    [
        lambda x: x + torch.zeros(3),
        lambda x: torch.cat([x, torch.zeros(3)]),
        lambda x: torch.stack([x.sum(), torch.zeros(())]),
        lambda x: torch.zeros(3).add_(x),
        lambda x: torch.zeros(3)[torch.zeros(1, dtype=torch.long, device='cuda')],
        lambda x: nn.Linear(3, 1)(x),
        lambda x: torch.where(torch.ones(3, dtype=torch.bool), x, x),
        lambda x: x.lerp(torch.zeros(3), 0.5),
        lambda x: torch.isin(x, torch.zeros(3)),
    ],
)
def test_mixed_devices_raise(mix):
    with pytest.raises(MixedDevicesError):
        mix(torch.ones(3, device='cuda'))


@pytest.mark.parametrize(
    'mix',
    [
        lambda x: x + torch.zeros(()),
        lambda x: x * torch.tensor(2.0),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x[torch.tensor([True, False, True])],
        lambda x: torch.zeros_like(x).copy_(torch.zeros(3)),
        lambda x: x.fill_(torch.tensor(1.0)),
    ],
)
def test_what_a_gpu_allows(mix):
    assert mix(torch.ones(3, device='cuda')).is_cuda


def test_arrays_are_refused():
    with pytest.raises(TypeError, match='numpy'):
        torch.ones(3, device='cuda').numpy()


def test_a_module_learns(cuda):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    other = copy.deepcopy(model).to('cuda')
    x = torch.randn(2, 3, 8, 8)
    for net, data in ((model, x), (other, x.cuda())):
        optimizer = torch.optim.Adam(net.parameters())
        net(data).square().mean().backward()
        optimizer.step()
    for (name, first), second in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert second.device == cuda
        assert torch.equal(first, second.cpu()), name


def test_shared_parameters_stay_shared():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model.to('cuda')
    assert model[0].weight is model[1].weight
    assert isinstance(model[0].weight, nn.Parameter)
    copied = copy.deepcopy(model)
    assert copied[0].weight is copied[1].weight
    assert copied[0].weight is not model[0].weight


def test_a_file_is_read_on_the_cpu(tmp_path):
    torch.save(dict(x=torch.ones(3, device='cuda')), tmp_path / 'x.pth')
    x = torch.load(tmp_path / 'x.pth', map_location='cpu', weights_only=True)['x']
    assert x.device.type == 'cpu' and x.tolist() == [1, 1, 1]
