"""Table, interpolation and weights of heads by hand."""

import pytest
import torch
from focus_toys import LN3, ToyLaneAdapter, ToyTeacher, raw

from mmptq.lanes.geometry import LaneDistortion
from mmptq.losses import SemanticFocusLoss, SensitivityAwareSelection, head_distortions

FLOAT = raw([LN3, -LN3], [10.0, 50.0])  # a lane at 10 on 11 rows
MOVED = raw([-LN3, -LN3], [12.0, 60.0])  # the lane is lost, or moved by 2


def make(table, keep=0.0):
    options = dict(interval=1, momentum=0.0, ratios=(0.0, 1.0, 2.0))
    selection = SensitivityAwareSelection(keep=keep, **options)
    selection.table = torch.tensor(table)
    selection.average = torch.ones(len(table))
    return selection


def test_distortions_by_ratio():
    errors = {name: MOVED[name] - FLOAT[name] for name in FLOAT}
    ratios, adapter = (0.0, 0.25, 1.0, 2.0), ToyLaneAdapter()
    found = head_distortions(adapter, FLOAT, errors, {}, ratios, LaneDistortion())
    # Half of the error of the score makes it 0, which is no lane; each lost point costs 30 pixels.
    assert found == dict(score=[0, 0, 30, 30], x=[0, 0.5, 2, 4])


def test_interpolation():
    selection = make([[0.0, 4.0, 6.0], [0.0, 0.0, 10.0]])
    selection.update(0, torch.tensor([0.25, 2.25]))  # r = 1/2 and 3/2
    assert selection.sensitivities().tolist() == [2, 5]
    selection.update(1, torch.tensor([100.0, 0.0]))
    assert selection.sensitivities().tolist() == [6, 0]


def test_half_of_the_heads_rounded_up_have_weights():
    selection = make([[0.0, x, x] for x in (1.0, 6.0, 2.0)])
    selection.update(0, torch.ones(3))
    assert selection.weights.tolist() == [0, 0.75, 0.25]


def test_a_share_of_the_weight_is_the_same_for_all_heads():
    selection = make([[0.0, x, x] for x in (1.0, 6.0, 2.0)], keep=0.3)
    selection.update(0, torch.ones(3))
    expected = [0.1, 0.1 + 0.7 * 0.75, 0.1 + 0.7 * 0.25]
    assert selection.weights.tolist() == pytest.approx(expected)


def test_heads_that_move_no_lane_count_the_same():
    selection = make([[0.0] * 3] * 4)
    selection.update(0, torch.ones(4))
    assert selection.weights.tolist() == [0.25] * 4


def test_table_is_a_mean_over_some_images():
    loss = SemanticFocusLoss(selection=dict(num_images=2, ratios=(0, 1), keep=0))
    pairs = [(FLOAT, MOVED), (FLOAT, FLOAT), (raw([LN3, 1.0], [10.0, 50.0]), FLOAT)]
    loss.prepare(ToyTeacher(loss, [pairs[0], pairs[1], pairs[2], pairs[2]]))
    # The first and the third: there one of two lanes is lost, and none moves.
    assert loss.selection.table.tolist() == [[0, (30 + 15) / 2], [0, 1]]
    assert loss.selection.history == [[0, 1, 0]]
    assert loss.records()['head_sensitivity'][1] == {'head': 'x', '0': 0.0, '1': 1.0}


def test_an_exponential_mean(monkeypatch):
    selection = SensitivityAwareSelection(momentum=0.75)
    selection.average = torch.ones(2)
    selection.update(0, torch.tensor([0.0, 5.0]))
    assert selection.average.tolist() == pytest.approx([0.75, 2])
