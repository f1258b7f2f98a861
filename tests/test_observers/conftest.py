"""Tensors of the kinds that detectors produce."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

NAMES = [
    'gaussian',
    'laplace',
    'relu',
    'outliers',
    'student',
    'silu',
    'mostly_zero',
    'relu6',
    'image',
    'negative',
]


def distribution(name: str, size: int = 20000, seed: int = 0) -> Tensor:
    """A random tensor (size,); the same one for the same arguments."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(size, generator=generator)
    uniform = torch.rand(size, generator=generator)
    other = torch.randn(3, size, generator=generator)
    # A normal over the root of a chi-square with 3 degrees of freedom, the heavy tail.
    student = normal / other.square().mean(0).sqrt()
    exponential = -(1 - uniform).log()
    return {
        'gaussian': normal,
        'laplace': exponential * normal.sign(),
        'relu': normal.relu(),
        'outliers': torch.where(uniform < 0.001, 20 * normal, normal).abs(),
        'student': student,
        'silu': silu(2 * normal),
        'mostly_zero': torch.where(uniform < 0.9, 0, student),
        'relu6': (4 * normal).clamp(0, 6),
        'image': ((256 * uniform).floor() - 114) / 57,
        'negative': -exponential,
    }[name]


@pytest.fixture(params=NAMES)
def values(request) -> Tensor:
    """Each distribution in turn."""
    return distribution(request.param)


@pytest.fixture
def make_values():
    """The function that makes a distribution by name."""
    return distribution


@pytest.fixture(scope='session')
def sparse_values() -> Tensor:
    """A sparse feature map (200000,): 90 % zeros, heavy tail, largest value 48."""
    generator = torch.Generator().manual_seed(2)
    normal = torch.randn(4, 200000, generator=generator)
    student = (normal[0] / normal[1:].square().mean(0).sqrt()).abs()
    return torch.where(torch.rand(len(student), generator=generator) < 0.9, 0, student)
