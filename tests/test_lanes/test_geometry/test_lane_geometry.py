"""Lanes cut off at the border, and brought back to the original image."""

import numpy as np
import pytest
import torch

from mmptq.lanes.geometry.lane_geometry import (
    bottom_to_top,
    clip_lane,
    lanes_to_original,
    move_points,
)


@pytest.mark.parametrize(
    ('lane', 'expected'),
    [
        ([[1, 8], [2, 5], [3, 1]], [[1, 8], [2, 5], [3, 1]]),
        ([[5, 19], [5, -1]], [[5, 9], [5, 0]]),
        ([[-5, 5], [5, 5]], [[0, 5], [5, 5]]),
        ([[6, 4], [12, 7]], [[6, 4], [9, 5.5]]),
        ([[3, 3], [3, -9], [6, -9], [6, 8]], [[6, 0], [6, 8]]),
        ([[-5, 0], [-5, 10]], []),
        ([[20, 5], [30, 5]], []),
        ([[-4, 4], [4, -4.1]], []),
        ([[5, 5], [5, 5]], []),
        ([[5, 5]], []),
        ([], []),
    ],
)
def test_clip_to_ten_by_ten(lane, expected):
    clipped = clip_lane(np.array(lane, dtype=float).reshape(-1, 2), 10, 10)
    np.testing.assert_allclose(clipped, np.reshape(expected, (-1, 2)), atol=1e-12)


def test_clip_agrees_with_dense_sampling():
    rng = np.random.default_rng(0)
    for _ in range(50):
        start, end = rng.uniform(-10, 20, (2, 2))
        dense = start + np.linspace(0, 1, 2001)[:, None] * (end - start)
        inside = dense[((dense >= 0) & (dense <= 9)).all(axis=1)]
        clipped = clip_lane(np.stack([start, end]), 10, 10)
        assert len(clipped) == (2 if len(inside) > 1 else 0)
        if len(clipped):
            np.testing.assert_allclose(clipped, inside[[0, -1]], atol=0.05)


def test_bottom_to_top():
    up = np.array([[0, 9], [1, 5]])
    assert bottom_to_top(up).tolist() == bottom_to_top(up[::-1]).tolist() == up.tolist()
    assert bottom_to_top(np.empty((0, 2))).shape == (0, 2)


@pytest.mark.parametrize('kind', [torch.float32, torch.float64, np.float32, np.float64])
def test_back_to_the_original_keeps_the_type(kind):
    matrix = np.array([[0.5, 0.1, 3], [-0.1, 0.4, -7], [0, 0, 1]])
    lane = np.random.default_rng(0).uniform(0, 500, (6, 2))
    moved = move_points(lane, matrix)
    moved = (
        torch.from_numpy(moved).to(kind) if isinstance(kind, torch.dtype) else moved.astype(kind)
    )
    back = lanes_to_original([moved], dict(homography_matrix=matrix))[0]
    assert back.dtype == kind
    np.testing.assert_allclose(np.asarray(back), lane, atol=1e-3)
    assert lanes_to_original([], dict(homography_matrix=matrix)) == []
