"""Random streams that last for one block of code."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this context the streams of Python, NumPy and torch (on a CPU) start from a seed.

    Afterwards they go on where they were.

    Args:
        seed (int): Any number; only its lowest 32 bits count.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed %= 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reset GPUs as well
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
