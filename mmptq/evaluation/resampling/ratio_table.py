"""Metrics that are ratios of sums over samples, such as F1 and accuracy."""

from dataclasses import dataclass

import numpy as np


@dataclass
class RatioTable:
    """Ratios of sums over samples; exact on every resampled set.

    Attributes:
        tops (np.ndarray): (S, N) numerators of each sample.
        bottoms (np.ndarray): (S, N) denominators.
        names (dict[str, list[int]]): Metric to the columns whose ratios it averages.
        most (int): Resamples that its time allows.
    """

    tops: np.ndarray
    bottoms: np.ndarray
    names: dict[str, list[int]]
    most: int = 10**6

    @property
    def num_samples(self) -> int:
        """S, of the evaluation set."""
        return len(self.tops)

    @property
    def width(self) -> int:
        """Numbers that one resample takes."""
        return 2 * self.tops.shape[1]

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics by name, (R,) each; NaN where a sum of denominators is 0."""
        with np.errstate(invalid='ignore', divide='ignore'):
            ratios = (weights @ self.tops) / (weights @ self.bottoms)
        return {name: ratios[:, columns].mean(axis=1) for name, columns in self.names.items()}
