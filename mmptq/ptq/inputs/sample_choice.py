"""Which samples of a dataset a run calibrates on."""

import torch

from mmptq.quantization import QuantizationError

from .calibration_settings import DEFAULT_SAMPLES


def choose_samples(
    total: int,
    num_samples: int | None,
    seed: int,
    what: str = 'the train split',
    default: int = DEFAULT_SAMPLES,
) -> list[int]:
    """A random choice without repetition, sorted so that files are read in order.

    Args:
        total (int): How many samples there are.
        num_samples (int, optional): How many to choose; None chooses ``default``, or all if there
            are fewer.
        seed (int): Of the choice.
        what (str): What holds the samples, for messages.
        default (int): See ``num_samples``. Defaults to 256.

    Raises:
        QuantizationError: If there are fewer samples than asked for, or none at all.
    """
    if total < 1:
        raise QuantizationError(f'{what} is empty: PTQ needs at least one calibration sample')
    if num_samples is None:
        num_samples = min(default, total)
    if num_samples < 1:
        raise QuantizationError(f'calibration.num_samples={num_samples} must be at least 1')
    if total < num_samples:
        raise QuantizationError(
            f'calibration.num_samples={num_samples} is more than the {total} samples of '
            f'{what}: set it to at most {total}'
        )
    generator = torch.Generator('cpu').manual_seed(seed)
    return sorted(torch.randperm(total, generator=generator, device='cpu')[:num_samples].tolist())


def spread_samples(total: int, num_samples: int, seed: int) -> list[int]:
    """One sample at random out of each of ``num_samples`` equal parts, in order.

    Frames of a video stay far from each other. Arguments as for :func:`choose_samples`, which has
    checked them.
    """
    generator = torch.Generator('cpu').manual_seed(seed)
    bounds = [part * total // num_samples for part in range(num_samples + 1)]
    draws = torch.rand(num_samples, generator=generator, device='cpu', dtype=torch.float64).tolist()
    parts = zip(bounds, bounds[1:], draws, strict=False)
    return [low + int(draw * (high - low)) for low, high, draw in parts]
