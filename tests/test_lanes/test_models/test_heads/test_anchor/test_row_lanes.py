"""Lanes on rows: x, first row, number of rows and distances by hand."""

import pytest
import torch

from mmptq.lanes.models.heads.anchor.row_lanes import (
    RowLanes,
    lanes_to_rows,
    row_heights,
    row_lane_distances,
)

INF = float('inf')


def lane(*points) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float32)


def row_lanes(*lanes) -> RowLanes:
    """From tuples of x, first row and number of rows."""
    xs, starts, lengths = zip(*lanes, strict=True)
    return RowLanes(*(torch.tensor(part, dtype=torch.float32) for part in (xs, starts, lengths)))


def test_rows_go_from_the_bottom_to_the_top():
    assert row_heights(5, 80).tolist() == [80, 60, 40, 20, 0]


def test_a_lane_is_prolonged_to_the_bottom_only():
    lanes = lanes_to_rows([lane((40, 60), (20, 20))], num_rows=5, width=100, height=80)
    # 20 pixels in x for 40 in y: at y = 80 it would be at 50.
    assert lanes.xs[0, :4].tolist() == [50, 40, 30, 20]
    assert (lanes.starts.item(), lanes.lengths.item()) == (0, 4)


def test_a_lane_starts_where_it_enters_the_image():
    lanes = lanes_to_rows([lane((90, 60), (50, 20))], num_rows=5, width=100, height=80)
    assert lanes.xs[0, :4].tolist() == [110, 90, 70, 50]
    assert (lanes.starts.item(), lanes.lengths.item()) == (1, 3)
    assert lanes.shown.tolist() == [[False, True, True, True, False]]


def test_order_of_points_and_equal_heights_do_not_matter():
    up = lanes_to_rows([lane((40, 60), (30, 40), (30, 40), (20, 20))], 5, 100, 80)
    down = lanes_to_rows([lane((20, 20), (30, 40), (40, 60))], 5, 100, 80)
    assert torch.equal(up.xs, down.xs)


@pytest.mark.parametrize('points', [((40, 35), (45, 30)), ((10, 50), (90, 50)), ((10, 50),)])
def test_lanes_without_a_row_are_left_out(points):
    # The first is prolonged to the rows below: it stays, the flat and the single point do not.
    assert len(lanes_to_rows([lane(*points)], 5, 100, 80)) == (points[0] == (40, 35))


def test_no_lanes():
    lanes = lanes_to_rows([], num_rows=5, width=100, height=80)
    assert lanes.xs.shape == (0, 5)
    assert row_lane_distances(lanes, lanes).shape == (0, 0)
    other = row_lanes(([1, 2, 3, 4, 5], 0, 5))
    assert row_lane_distances(other, lanes).shape == (1, 0)


def test_distance_is_the_mean_over_common_rows():
    first = row_lanes(([0, 0, 0, 0], 0, 3), ([10, 10, 10, 10], 2, 9))
    second = row_lanes(([1, 2, 4, 100], 1, 2), ([7, 7, 7, 7], 3, 1), ([5, 5, 5, 5], 0, 0))
    expected = torch.tensor([[3, INF, INF], [6, 3, INF]])
    assert torch.equal(row_lane_distances(first, second), expected)


def test_lengths_are_rounded_and_end_at_the_top():
    lanes = row_lanes(([0] * 4, 1, 1.6), ([0] * 4, 1, 50), ([0] * 4, 1, -3))
    assert lanes.ends.tolist() == [2, 3, -3]
    assert lanes.shown.sum(dim=1).tolist() == [2, 3, 0]
