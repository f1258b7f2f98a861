"""Random streams of a run, which must differ from each other."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

# A prime: streams of one run are far from those of the next seed.
STRIDE = 1_000_003


def stream_seed(seed: int, index: int) -> int:
    """Seed of one of the random streams of a run.

    Runs with other seeds share no stream: the second stream of seed 0 is not the first of seed 1.

    Args:
        seed (int): Seed of the run.
        index (int): Number of the stream, below 1,000,003.

    Returns:
        int: What ``torch.manual_seed`` and ``torch.Generator.manual_seed`` take. With seed 0 it
        is the index.
    """
    return seed * STRIDE + index


@contextmanager
def seeded(seed: int, devices: Iterable[torch.device]) -> Iterator[None]:
    """Within this context random numbers depend on the seed alone; outside they go on as before.

    Args:
        seed (int): Of the CPU's stream and of those of the devices.
        devices (Iterable[torch.device]): GPUs that are used; others are left alone.
    """
    devices = [device for device in devices if device.type == 'cuda']
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device.index or 0].manual_seed(seed)
        yield
