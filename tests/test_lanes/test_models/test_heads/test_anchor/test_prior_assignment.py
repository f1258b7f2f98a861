"""How many priors a lane gets, and which."""

import torch

from mmptq.lanes.models.heads.anchor.line_lanes import LineLanes
from mmptq.lanes.models.heads.anchor.prior_assignment import assign_priors
from mmptq.lanes.models.heads.anchor.row_lanes import RowLanes


def upright(*xs: float) -> LineLanes:
    """Upright lanes on four rows from the bottom to the top."""
    xs = torch.tensor(xs)
    starts, lengths = torch.zeros_like(xs), torch.full_like(xs, 4)
    lines = torch.stack([starts, xs, torch.full_like(xs, 90), lengths], dim=1)
    return LineLanes(lines, RowLanes(xs[:, None].expand(-1, 4), starts, lengths))


def assign(preds, targets, scores=None) -> list[tuple[int, int]]:
    scores = torch.full((len(preds),), 0.5) if scores is None else torch.tensor(scores)
    priors, lanes = assign_priors(upright(*preds), scores, upright(*targets), 5.0, radius=5.0)
    return list(zip(priors.tolist(), lanes.tolist(), strict=True))


def test_the_number_of_priors_is_the_sum_of_the_best_overlaps():
    # IoUs 1, 9/11, 6/14 and less than 0: two priors, the nearest ones.
    assert assign([24.0, 20.0, 80.0, 21.0], [20.0]) == [(1, 0), (3, 0)]


def test_a_lane_without_overlap_gets_one_prior():
    assert assign([60.0, 90.0], [20.0]) == [(0, 0)]


def test_the_more_likely_of_equal_lines():
    assert assign([60.0, 60.0, 90.0], [20.0], [0.1, 0.8, 0.5]) == [(1, 0)]


def test_a_prior_that_two_lanes_claim_belongs_to_the_nearer():
    assert assign([20.0, 90.0], [20.0, 30.0]) == [(0, 0)]
    assert assign([20.0, 90.0], [30.0, 20.0]) == [(0, 1)]


def test_equal_lanes_and_extreme_scores():
    assert assign([20.0, 20.0], [20.0], [0.0, 1.0]) == [(0, 0), (1, 0)]
