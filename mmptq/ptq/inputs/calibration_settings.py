"""The ``calibration`` of a config, and the samples that it chooses."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from mmptq.quantization import QuantizationError

DEFAULT_SAMPLES = 256
OVERLAP = ('error', 'warn')
NAN_POINTS = ('drop', 'error')


@dataclass(frozen=True)
class CalibrationSettings:
    """What a run calibrates on.

    Attributes:
        num_samples (int, optional): Number of samples; None takes ``default_samples``, or all
            where there are fewer.
        overlap (str): 'error' refuses samples that the evaluation data holds too, 'warn' only
            reports them.
        data (str, optional): A folder of images or scans, in place of the train data.
        nan_points (str, optional): What happens to points with NaN or Inf in a scan: 'drop' drops
            them, 'error' refuses the scan, and None drops them below a share of 1 %.
        pipeline (int | list[dict], optional): The test pipeline, or the number of the one to take
            where the evaluation data has several.
        default_samples (int): 256, and 64 for recipes that pass over them several times.

    Example:
        >>> calibration = dict(num_samples=64, data='data/own_frames')
    """

    num_samples: int | None = None
    overlap: str = 'error'
    data: str | None = None
    nan_points: str | None = None
    pipeline: Any = None
    default_samples: int = DEFAULT_SAMPLES

    @classmethod
    def from_config(cls, cfg: Any) -> 'CalibrationSettings':
        """The settings of ``calibration`` in a config, checked.

        Args:
            cfg (dict | None): The value of the key.

        Raises:
            QuantizationError: If a key is unknown, or a value cannot be used.
        """
        if cfg is not None and not isinstance(cfg, dict):
            raise QuantizationError(f'calibration={cfg!r}: use calibration=dict(num_samples=64)')
        known = [field.name for field in fields(cls)]
        for key in cfg or {}:
            if key not in known:
                raise QuantizationError(
                    f"calibration has an unknown key '{key}': use {', '.join(known)}"
                )
        settings = cls(**(cfg or {}))
        settings._check()
        return settings

    def _check(self) -> None:
        count = self.num_samples
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise QuantizationError(f'calibration.num_samples={count!r} must be a whole number')
        if count is not None and count < 1:
            raise QuantizationError(f'calibration.num_samples={count} must be at least 1')
        if not isinstance(self.default_samples, int) or self.default_samples < 1:
            raise QuantizationError(
                f'calibration.default_samples={self.default_samples!r} must be at least 1'
            )
        if self.overlap not in OVERLAP:
            raise QuantizationError(f"calibration.overlap={self.overlap!r}: use 'error' or 'warn'")
        if self.nan_points not in (None, *NAN_POINTS):
            raise QuantizationError(
                f"calibration.nan_points={self.nan_points!r}: use 'drop' or 'error', or None to "
                'drop them below a share of 1 %'
            )
        if self.data is not None and (not isinstance(self.data, str) or not self.data):
            raise QuantizationError(
                f'calibration.data={self.data!r}: name one folder of images or scans'
            )


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
