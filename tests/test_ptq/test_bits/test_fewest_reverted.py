"""The search for the fewest reverted layers with a metric that is known."""

import pytest
import torch

from mmptq.ptq.bits.fewest_reverted import best_trial, fewest_reverted


class Metric:
    """A drop that is a sum over the layers that are left; counts evaluations."""

    def __init__(self, drops):
        self.drops, self.tried = list(drops), []

    def __call__(self, count: int) -> float:
        assert count not in self.tried
        self.tried.append(count)
        return sum(self.drops[count:])


def falling(seed: int, count: int = 60) -> list[float]:
    """Losses of layers, the worst first, over three orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(count, generator=generator).mul(-7).exp()
    return found.sort(descending=True)[0].tolist()


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('target', [0.5, 0.1, 0.03])
def test_exact_losses_reach_the_target_at_once(seed, target):
    losses = falling(seed)
    drops = [0.2 * loss / sum(losses) for loss in losses]
    metric = Metric(drops)
    trials = fewest_reverted(losses, metric, 0.2 * target, 50, 4)
    assert len(trials) == len(metric.tried) <= 4
    best = best_trial(trials)
    fewest = next(k for k in range(60) if sum(drops[k:]) <= 0.2 * target)
    assert fewest <= best.count <= fewest + 1


@pytest.mark.parametrize('seed', range(6))
def test_noisy_losses_reach_it_in_four(seed):
    losses, generator = falling(seed), torch.Generator().manual_seed(100 + seed)
    factors = torch.rand(60, generator=generator).mul(2).tolist()
    drops = [0.2 * loss * factor for loss, factor in zip(losses, factors, strict=True)]
    target = 0.2 * sum(drops)
    trials = fewest_reverted(losses, Metric(drops), target, 30, 4)
    best = best_trial(trials)
    fewest = next(k for k in range(60) if sum(drops[k:]) <= target)
    assert len(trials) <= 4
    assert fewest <= best.count <= fewest + 6


def test_nothing_to_revert():
    trials = fewest_reverted([1.0, 0.5], Metric([0.001, 0.001]), 0.005, 1, 4)
    assert [(t.count, t.passed) for t in trials] == [(0, True)]


def test_what_cannot_be_reached():
    drops = [0.1] * 20
    metric = Metric(drops)
    trials = fewest_reverted(drops, metric, 0.01, 10, 4)
    assert best_trial(trials) is None
    assert len(trials) <= 4 and metric.tried[-1] == 10


def test_a_worse_ranking_ends_with_the_most_that_may_be_reverted():
    losses = [1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001]
    drops = [0.0, 0.0, 0.0, 0.0, 0.1, 0.0]  # what the ranking does not know
    metric = Metric(drops)
    trials = fewest_reverted(losses, metric, 0.05, 5, 4)
    assert best_trial(trials).count == 5
    assert metric.tried[0] == 0 and metric.tried[-1] == 5
