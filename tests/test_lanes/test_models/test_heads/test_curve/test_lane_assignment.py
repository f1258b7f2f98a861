import torch

from mmptq.lanes.models.heads.curve.lane_assignment import assign


def test_smallest_sum_by_hand():
    cost = torch.tensor([[1.0, 2.0], [1.0, 9.0], [5.0, 5.0]])
    predictions, lanes = assign(cost)
    # 2 + 1, while the greedy choice 1 + 5 would be worse.
    assert dict(zip(predictions.tolist(), lanes.tolist(), strict=True)) == {0: 1, 1: 0}
    assert predictions.dtype == torch.int64


def test_what_is_not_finite_is_avoided():
    cost = torch.tensor([[float('nan'), 3.0], [2.0, float('inf')], [1.0, 1e5]])
    predictions, lanes = assign(cost)
    assert dict(zip(predictions.tolist(), lanes.tolist(), strict=True)) == {0: 1, 2: 0}


def test_no_lanes_and_more_lanes_than_predictions():
    assert [len(x) for x in assign(torch.zeros(3, 0))] == [0, 0]
    assert [len(x) for x in assign(torch.zeros(2, 5))] == [2, 2]
