"""Lanes as CLRNet regresses them, by hand on five rows of 40x20 pixels."""

import math

import pytest
import torch

from mmptq.lanes.models.heads.anchor.line_lanes import lanes_to_lines


def encode(*lanes):
    return lanes_to_lines([torch.tensor(lane) for lane in lanes], 5, (40, 20))


def test_start_angle_and_length():
    rising = [(10.0, 20.0), (30.0, 0.0)]
    falling = [(30.0, 20.0), (20.0, 10.0)]
    lanes = encode(rising, falling)
    expected = [[0, 10, 45, 5], [0, 30, 135, 3]]
    torch.testing.assert_close(lanes.lines, torch.tensor(expected, dtype=torch.float32))
    assert lanes.rows.xs.tolist() == [[10, 15, 20, 25, 30], [30, 25, 20, 20, 20]]


def test_the_angle_is_a_mean_over_rows():
    (line,) = encode([(10.0, 20.0), (10.0, 15.0), (20.0, 10.0)]).lines.tolist()
    assert line == pytest.approx([0, 10, (90 + 45) / 2, 3])


def test_a_lane_from_the_side_starts_at_its_first_row_inside():
    (line,) = encode([(-10.0, 20.0), (30.0, 0.0)]).lines.tolist()
    assert line == pytest.approx([1, 0, math.degrees(math.atan2(5, 10)), 4])


def test_lanes_of_less_than_two_rows_are_left_out():
    assert len(encode([(10.0, 20.0), (11.0, 18.0)])) == 0
    assert len(encode()) == 0
