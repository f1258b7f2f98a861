"""Anchors as rays from the borders, by hand."""

import math

import torch

from mmptq.lanes.models import LaneAnchorGenerator


def test_number_and_order_of_the_published_anchors():
    generator = LaneAnchorGenerator()
    assert len(generator) == 6 * 72 + 15 * 128 + 6 * 72 == 2784
    x, y, angle = generator.rays.T
    assert x[:432].unique().tolist() == [0] and x[-432:].unique().tolist() == [1]
    assert y[432:-432].unique().tolist() == [1]
    assert angle[:7].tolist() == [72, 60, 49, 39, 30, 22, 72]
    assert (x[432].item(), x[432 + 15 * 127].item()) == (1, 0)  # from the right to the left
    assert (y[0].item(), y[431].item()) == (1, 0)  # from the bottom to the top


def test_x_at_heights():
    generator = LaneAnchorGenerator(
        lateral_origins=2,
        bottom_origins=3,
        left_angles=[45],
        bottom_angles=[90],
        right_angles=[135],
    )
    assert generator.rays[:, :2].tolist() == [
        [0, 1],
        [0, 0],
        [1, 1],
        [0.5, 1],
        [0, 1],
        [1, 1],
        [1, 0],
    ]
    xs = generator.xs_at(torch.tensor([1, 0.5, 0]))
    expected = [
        [0, 0.5, 1],  # from the lower left corner to the upper right one
        [-1, -0.5, 0],  # from the upper left corner, prolonged below it
        [1, 1, 1],
        [0.5, 0.5, 0.5],
        [0, 0, 0],
        [1, 0.5, 0],
        [2, 1.5, 1],
    ]
    torch.testing.assert_close(xs, torch.tensor(expected), atol=1e-6, rtol=0)
    assert generator.start_heights().tolist() == [0, 1, 0, 0, 0, 0, 1]


def test_angles_are_counted_from_the_x_axis():
    generator = LaneAnchorGenerator(2, 2, left_angles=[30], bottom_angles=[60], right_angles=[150])
    first, bottom = generator.xs_at(torch.tensor([0.0]))[[0, 3]]
    assert math.isclose(first.item(), 1 / math.tan(math.pi / 6), rel_tol=1e-6)
    assert math.isclose(bottom.item(), 1 / math.tan(math.pi / 3), rel_tol=1e-6)
