"""EM of two Gaussians against a step by hand, and on synthetic scores."""

import math

import pytest
import torch

from mmptq.ptq.teacher import mixture
from mmptq.ptq.teacher.mixture import Mixture, condense, fit_mixture


def density(x, mean, variance, weight):
    return weight * math.exp(-((x - mean) ** 2) / 2 / variance) / math.sqrt(2 * math.pi * variance)


def mixture_of(means, variances, upper):
    weights = torch.tensor([[1 - upper, upper]])
    return Mixture(means, variances, weights, torch.ones(1).bool(), torch.ones(1).long())


def test_one_step_by_hand(monkeypatch):
    monkeypatch.setattr(mixture, 'MAX_ITERATIONS', 1)
    scores, counts = [1.0, 2.0, 4.0], [2.0, 1.0, 1.0]
    found = fit_mixture(torch.tensor([scores]), torch.tensor([counts]))
    # Mean 2, variance (2 * 1 + 0 + 4) / 4 = 1.5; quantiles of 25 and 90 %: 1 and 4.
    upper = []
    for x in scores:
        low, high = density(x, 1, 1.5, 0.7), density(x, 4, 1.5, 0.3)
        upper.append(high / (low + high))
    mass = [n / 4 * r for n, r in zip(counts, upper, strict=True)]
    weight = sum(mass)
    mean = sum(m * x for m, x in zip(mass, scores, strict=True)) / weight
    variance = sum(m * (x - mean) ** 2 for m, x in zip(mass, scores, strict=True)) / weight
    assert found.weights[0, 1].item() == pytest.approx(weight, rel=1e-12)
    assert found.weights[0].sum().item() == pytest.approx(1)
    assert found.means[0, 1].item() == pytest.approx(mean, rel=1e-12)
    assert found.variances[0, 1].item() == pytest.approx(variance, rel=1e-12)
    assert found.iterations.tolist() == [1]


def test_finds_two_gaussians():
    torch.manual_seed(0)
    scores = torch.cat((torch.randn(8000) * 0.5 + 1, torch.randn(2000) + 6))[None]
    found = fit_mixture(scores, torch.ones_like(scores))
    assert found.valid.tolist() == [True]
    torch.testing.assert_close(found.means[0], torch.tensor([1.0, 6.0]).double(), rtol=0.02, atol=0)
    expected = torch.tensor([0.25, 1.0]).double()
    torch.testing.assert_close(found.variances[0], expected, rtol=0.06, atol=0)
    torch.testing.assert_close(
        found.weights[0], torch.tensor([0.8, 0.2]).double(), rtol=0.02, atol=0
    )
    assert found.means.dtype == torch.float64
    assert 1 < found.iterations[0] < 100


def test_posterior_is_that_of_bayes_and_never_falls():
    means, variances = torch.tensor([[1.0, 4.0]]), torch.tensor([[0.5, 2.0]])
    fitted = mixture_of(means, variances, 0.25)
    low, high = density(3, 1, 0.5, 0.75), density(3, 4, 2, 0.25)
    assert fitted.posterior(torch.tensor([[3.0]])).item() == pytest.approx(high / (low + high))
    densities = fitted.density(torch.tensor([[3.0]]))[0, 0].tolist()
    assert densities == pytest.approx([low, high])
    # Far below, the wider Gaussian alone would win again: 1 at -30.
    line = torch.linspace(-30, 30, 301)[None]
    assert fitted.posterior(line).diff().min() >= 0
    assert fitted.posterior(line)[0, 0] < 0.01
    swapped = mixture_of(means, variances.flip(1), 0.25)
    assert swapped.posterior(line).diff().min() >= 0
    assert swapped.posterior(line)[0, -1] > 0.9
    equal = mixture_of(means, torch.ones(1, 2), 0.5)
    assert equal.posterior(torch.tensor([[2.5]])).item() == pytest.approx(0.5)


def test_rows_do_not_depend_on_each_other():
    torch.manual_seed(0)
    rows = torch.stack((torch.randn(300), torch.rand(300) ** 4 * 9, torch.zeros(300)))
    together = fit_mixture(rows, torch.ones_like(rows))
    for index in range(3):
        alone = fit_mixture(rows[index : index + 1], torch.ones(1, 300))
        torch.testing.assert_close(together[index].means, alone.means, rtol=1e-12, atol=0)
        assert together[index].iterations == alone.iterations
    assert together.valid.tolist()[2] is False


@pytest.mark.parametrize(
    ('scores', 'counts'),
    [([0.0] * 4, [0.0] * 4), ([5.0] * 20, [1.0] * 20), ([1.0, 9.0], [4.0, 4.0])],
    ids=['nothing', 'one value', 'eight scores'],
)
def test_no_split(scores, counts):
    found = fit_mixture(torch.tensor([scores]), torch.tensor([counts]))
    assert found.valid.tolist() == [False]
    assert found.means.isfinite().all()


def test_bins_hold_all_scores_but_zeros():
    scores = torch.tensor([0.0, 1.0, 1.0, 0.5, 1e-12, 0.0])
    means, counts = condense(scores)
    assert counts.sum() == 4
    assert counts[0] == 2 and means[0] == 1
    assert counts[17] == 1 and means[17] == 0.5  # log(2) / (20 / 512) = 17.7
    assert counts[-1] == 1 and means[-1].item() == pytest.approx(1e-12)
    assert condense(torch.zeros(3))[1].sum() == 0


def test_bins_change_the_fit_little():
    torch.manual_seed(0)
    scores = torch.cat((torch.randn(8000) - 3, torch.randn(2000) * 0.5 + 1)).exp()
    exact = fit_mixture(scores.log()[None], torch.ones(1, 10000))
    means, counts = condense(scores)
    binned = fit_mixture(means.clamp(min=1e-30).log()[None], counts[None])
    torch.testing.assert_close(binned.means, exact.means, rtol=0.01, atol=0.01)
    torch.testing.assert_close(binned.variances, exact.variances, rtol=0.02, atol=0)
