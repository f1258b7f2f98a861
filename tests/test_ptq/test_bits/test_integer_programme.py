"""The choice of options under budgets against all choices that there are."""

from itertools import product

import pytest
import torch

from mmptq.ptq.bits.integer_programme import Option, choose_options, smallest_cost, total_cost

WIDTHS = (2, 3, 4, 8)
WEIGHTS = (9, 100, 31, 64)


def groups_of(seed: int) -> list[list[Option]]:
    """Four layers whose losses fall with the bits, at random."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for count in WEIGHTS:
        losses = torch.rand(len(WIDTHS), generator=generator).pow(4).sort(descending=True)[0]
        options = zip(WIDTHS, losses.tolist(), strict=True)
        groups.append([Option(x, dict(bits=count * b, ops=count * b * 3)) for b, x in options])
    return groups


def best_of_all(groups: list[list[Option]], budget: float) -> float:
    """The smallest loss within the budget."""
    return min(
        sum(option.loss for option in options)
        for options in product(*groups)
        if sum(option.costs['bits'] for option in options) <= budget
    )


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('mean', [2, 2.5, 4, 5.3, 8, 20])
def test_no_choice_is_better(seed, mean):
    groups, budget = groups_of(seed), mean * sum(WEIGHTS)
    chosen = choose_options(groups, dict(bits=budget))
    assert total_cost(groups, chosen, 'bits') <= budget
    loss = sum(options[index].loss for options, index in zip(groups, chosen, strict=True))
    assert loss == pytest.approx(best_of_all(groups, budget), rel=1e-6)


def test_more_than_enough_gives_everything_the_most():
    groups = groups_of(0)
    groups[2] = [Option(0.0, option.costs) for option in groups[2]]  # all the same
    assert choose_options(groups, dict(bits=9 * sum(WEIGHTS))) == [3, 3, 3, 3]


def test_two_budgets_and_none_that_fits():
    groups = groups_of(1)
    assert smallest_cost(groups, 'bits') == 2 * sum(WEIGHTS)
    assert choose_options(groups, dict(bits=2 * sum(WEIGHTS) - 1)) is None
    both = dict(bits=8 * sum(WEIGHTS), ops=9 * sum(WEIGHTS))
    chosen = choose_options(groups, both)
    assert total_cost(groups, chosen, 'ops') <= both['ops']
    assert chosen == choose_options(groups, dict(bits=3 * sum(WEIGHTS)))
