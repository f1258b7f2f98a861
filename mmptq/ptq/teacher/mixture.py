"""Two Gaussians fitted to scores by expectation maximization (EM)."""

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BINS = 512
# Width of a bin of log scores; the bins reach 20 e-folds below the largest score.
BIN_WIDTH = 20 / NUM_BINS

MAX_ITERATIONS = 100
TOLERANCE = 1e-4  # of the mean log likelihood
START_QUANTILES = (0.25, 0.9)
START_WEIGHTS = (0.7, 0.3)
# Smallest variance of a component, as a share of the variance of all scores.
VARIANCE_FLOOR = 1e-6
# What it takes to call a fit a split: scores, share of the smaller component, and distance of the
# means in standard deviations of all scores.
LEAST_SCORES, LEAST_WEIGHT, LEAST_DISTANCE = 16, 1e-3, 0.1


@dataclass
class Mixture:
    """Two Gaussians for each of R rows; column 0 has the lower mean.

    Attributes:
        means (Tensor): (R, 2) float64.
        variances (Tensor): (R, 2).
        weights (Tensor): (R, 2), prior probabilities that add up to 1.
        valid (Tensor): (R,) bool, whether the scores of a row gave two components.
        iterations (Tensor): (R,) int64.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    valid: Tensor
    iterations: Tensor

    def __getitem__(self, row: int) -> 'Mixture':
        """The mixture of one row, with R = 1."""
        return Mixture(
            *(x[row : row + 1] for x in (self.means, self.variances, self.weights)),
            *(x[row : row + 1] for x in (self.valid, self.iterations)),
        )

    def to(self, device: torch.device) -> 'Mixture':
        """The same mixture on another device."""
        parts = self.means, self.variances, self.weights, self.valid, self.iterations
        return Mixture(*(part.to(device) for part in parts))

    def posterior(self, scores: Tensor) -> Tensor:
        """Probability of the upper component at scores (R, N), never falling as scores rise.

        The logit is a parabola: the wider Gaussian wins on both sides of the narrower one. Beyond
        its vertex, which lies outside of both means, the value at the vertex is taken.
        """
        curve, slope, offset = self._logit()
        vertex = -slope / (2 * curve)
        scores = torch.where(curve > 0, scores.maximum(vertex), scores)
        scores = torch.where(curve < 0, scores.minimum(vertex), scores)
        return ((curve * scores + slope) * scores + offset).sigmoid()

    def density(self, scores: Tensor) -> Tensor:
        """Densities (R, N, 2) of both components at scores (R, N), times their weights."""
        return _log_density(scores, self.means, self.variances, self.weights).exp()

    def _logit(self) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (R, 1) of the logit of the upper component, a parabola in the score."""
        (low, high), (inverse_low, inverse_high) = self.means.T, (1 / self.variances).T
        offset = self.weights.log() + 0.5 * (1 / self.variances).log()
        offset = offset - 0.5 * self.means.square() / self.variances
        parts = (
            0.5 * (inverse_low - inverse_high),
            high * inverse_high - low * inverse_low,
            offset[:, 1] - offset[:, 0],
        )
        return tuple(part[:, None] for part in parts)


def fit_mixture(scores: Tensor, counts: Tensor) -> Mixture:
    """Fit two Gaussians to each row by EM, in float64.

    Means start at the quantiles of 25 and 90 %, weights at 0.7 and 0.3, variances at that of all
    scores. A row stops after 100 iterations, or where its mean log likelihood rises by less than
    1e-4; rows do not depend on each other.

    Args:
        scores (Tensor): (R, M).
        counts (Tensor): (R, M) how often each occurs.
    """
    scores, counts = scores.double(), counts.double()
    total = counts.sum(1, keepdim=True)
    counts = counts / total.clamp(min=1)
    variance = _moment(scores, counts)[1]
    floor = VARIANCE_FLOOR * variance + torch.finfo(torch.float64).tiny
    means = torch.cat([_quantile(scores, counts, q) for q in START_QUANTILES], 1)
    variances = variance.clamp(min=floor).expand(-1, 2)
    weights = scores.new_tensor(START_WEIGHTS).expand(len(scores), 2)
    before = scores.new_full((len(scores),), -torch.inf)
    iterations = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    active = (total[:, 0] > 0) & (variance[:, 0] > 0)
    for _ in range(MAX_ITERATIONS):
        if not active.any():
            break
        logs = _log_density(scores, means, variances, weights)
        likelihood = (torch.logsumexp(logs, 2) * counts).sum(1)
        active = active & ~(likelihood - before < TOLERANCE)
        before = likelihood
        found = _maximize(scores, counts, logs.softmax(2), floor)
        means, variances, weights = (
            torch.where(active[:, None], new, old)
            for new, old in zip(found, (means, variances, weights), strict=True)
        )
        iterations += active
    order = means.argsort(dim=1, stable=True)
    means, variances, weights = (x.gather(1, order) for x in (means, variances, weights))
    distance = means.diff(dim=1)[:, 0] / variance[:, 0].sqrt()
    valid = (total[:, 0] >= LEAST_SCORES) & (variance[:, 0] > 0) & (distance >= LEAST_DISTANCE)
    valid &= weights.amin(1) >= LEAST_WEIGHT
    return Mixture(means, variances, weights, valid, iterations)


def condense(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores by logarithmic bins: means (512,) and counts (512,), float64; zeros are left out.

    A bin is 4 % wide, so that EM takes the same time for any number of positions.

    Args:
        scores (Tensor): (N,) finite, at least 0.
    """
    scores = scores[scores > 0].double()
    if not len(scores):
        empty = scores.new_zeros(NUM_BINS)
        return empty, empty
    index = ((scores.max() / scores).log() / BIN_WIDTH).long().clamp(max=NUM_BINS - 1)
    counts = torch.bincount(index, minlength=NUM_BINS).double()
    sums = torch.bincount(index, scores, minlength=NUM_BINS)
    return sums / counts.clamp(min=1), counts


def _maximize(
    scores: Tensor, counts: Tensor, share: Tensor, floor: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Means, variances and weights (R, 2) that fit shares (R, M, 2) of the components best."""
    mass = share * counts[..., None]
    weights = mass.sum(1)
    safe = weights.clamp(min=torch.finfo(torch.float64).tiny)
    means = (mass * scores[..., None]).sum(1) / safe
    variances = (mass * (scores[..., None] - means[:, None]).square()).sum(1) / safe
    return means, variances.maximum(floor), weights


def _log_density(scores: Tensor, means: Tensor, variances: Tensor, weights: Tensor) -> Tensor:
    """Log of weight times density, (R, M, 2)."""
    offset = weights.log() - 0.5 * (2 * torch.pi * variances).log()
    distance = scores[..., None] - means[:, None]
    return offset[:, None] - 0.5 * distance.square() / variances[:, None]


def _moment(scores: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (R, 1) of scores with shares that add up to 1."""
    mean = (scores * shares).sum(1, keepdim=True)
    return mean, ((scores - mean).square() * shares).sum(1, keepdim=True)


def _quantile(scores: Tensor, shares: Tensor, level: float) -> Tensor:
    """(R, 1) the smallest score with at least this share at or below it."""
    ordered, order = scores.sort(1)
    # The tolerance is for sums of shares that miss the level by a rounding error.
    reached = shares.gather(1, order).cumsum(1) >= level - 1e-9
    return ordered.gather(1, reached.int().argmax(1, keepdim=True))
