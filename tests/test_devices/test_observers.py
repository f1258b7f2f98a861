"""Every registered observer on a GPU: the scale of the CPU, on the GPU."""

import pytest
import torch
from helpers import registered
from mmengine.registry import TASK_UTILS
from simulated_cuda import simulated_cuda

from mmptq.observers import Observer
from mmptq.quantization import QScheme

SCHEMES = dict(
    tensor=QScheme(8),
    symmetric=QScheme(4, symmetric=True, signed=True),
    channels=QScheme(4, symmetric=True, signed=True, channel_axis=1),
)


def observers() -> list[type[Observer]]:
    return [cls for cls in registered(TASK_UTILS) if issubclass(cls, Observer)]


def tensors(device: str) -> list[torch.Tensor]:
    generator = torch.Generator('cpu').manual_seed(0)
    shapes = [(2, 3, 5, 5), (1, 3, 4, 6), (0, 3, 4, 4)]
    return [torch.randn(shape, generator=generator).to(device) for shape in shapes]


def observe(cls: type[Observer], scheme: QScheme, device: str, weighted: bool) -> tuple:
    observer = cls(scheme)
    for x in tensors(device):
        observer.update(x, x[:, 0].abs() if weighted else None)
    merged = cls(scheme)
    merged.merge([observer.state()])
    merged.update(tensors(device)[0])
    scale, zero_point = observer.qparams()
    assert scale.device.type == zero_point.device.type == device
    values = (scale, zero_point, *merged.qparams())
    return tuple(x.cpu() for x in values)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('cls', observers(), ids=lambda cls: cls.__name__)
def test_a_gpu_gives_what_the_cpu_gives(cls, scheme, weighted):
    expected = observe(cls, SCHEMES[scheme], 'cpu', weighted)
    with simulated_cuda():
        found = observe(cls, SCHEMES[scheme], 'cuda', weighted)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y)
