"""Random streams of one block of code."""

import random

import numpy as np
import pytest
import torch

from mmptq.utils.random_state import seeded


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_same_numbers_inside_and_nothing_changes_outside():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draw(), draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with seeded(5):
        inside = draw()
    first = draw()
    with pytest.raises(OSError, match='x'), seeded(5 + 2**32):
        assert draw() == inside
        raise OSError('x')
    assert (first, draw()) == expected
