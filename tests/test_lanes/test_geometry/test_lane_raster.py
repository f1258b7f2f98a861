"""Drawn lanes: splines against formulas, drawing against one line per sample, IoU by hand."""

import cv2
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from mmptq.lanes.geometry.lane_raster import draw_lane, interpolate_lane, lane_ious, pen_path

SIZE = (1640, 590)


def vertical(x: float, top: int = 260, bottom: int = 590) -> np.ndarray:
    ys = np.arange(bottom, top - 1, -10.0)
    return np.stack([np.full(len(ys), x), ys], axis=1)


def random_lane(rng: np.random.Generator) -> np.ndarray:
    ys = np.sort(rng.uniform(200, 640, rng.integers(3, 12)))[::-1]
    return np.stack([rng.uniform(-200, 1840) + rng.normal(0, 60, len(ys)), ys], axis=1)


@pytest.mark.parametrize('num_points', [3, 4, 9])
def test_spline_is_the_natural_one(num_points):
    points = np.random.default_rng(num_points).uniform(0, 500, (num_points, 2)).astype(np.float32)
    knots = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points.astype(float), axis=0).T))])
    at = np.concatenate([np.linspace(a, b, 50, endpoint=False) for a, b in zip(knots, knots[1:])])  # noqa: B905
    expected = CubicSpline(knots, points.astype(float), bc_type='natural')(np.append(at, knots[-1]))
    samples = interpolate_lane(points)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_few_points():
    assert interpolate_lane(np.empty((0, 2))).shape == (0, 2)
    assert interpolate_lane(np.array([[5, 5]])).shape == (0, 2)
    assert interpolate_lane(np.array([[5, 5], [9, 5]])).tolist() == [[5, 5], [9, 5]]
    repeated = interpolate_lane(np.array([[5, 5], [5, 5], [9, 5], [9, 5]]))
    assert repeated.tolist() == [[5, 5], [9, 5]]


def test_coordinates_are_single_precision_and_round_half_to_even():
    path = pen_path(np.array([[803.49999999, 100], [800.5, 101.5]]))
    assert path.tolist() == [[804, 100], [800, 102]]


@pytest.mark.parametrize('seed', range(25))
def test_drawing_equals_one_line_per_sample(seed):
    points = random_lane(np.random.default_rng(seed))
    canvas = np.zeros(SIZE[::-1], dtype=np.uint8)
    samples = np.rint(interpolate_lane(points)).astype(int).tolist()
    for start, end in zip(samples[:-1], samples[1:], strict=True):
        cv2.line(canvas, start, end, 1, 30, cv2.LINE_8)
    mask = draw_lane(points, SIZE, 30)
    drawn = np.zeros_like(canvas)
    if mask is not None:
        height, width = mask.pixels.shape
        drawn[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
        assert mask.area == drawn.sum()
    assert np.array_equal(drawn, canvas)


def test_iou_by_hand():
    # Thickness 30 covers 31 columns of all 590 rows.
    lane, moved = vertical(800, -100, 700), vertical(810, -100, 700)
    assert lane_ious([lane], [lane, moved], SIZE, 30).tolist() == [[1, 21 / 41]]


def test_disc_of_a_lane_within_one_pixel():
    assert draw_lane(np.array([[800, 300], [800, 300]]), SIZE, 30).area == 709
    assert draw_lane(np.array([[800, 300], [800.2, 300], [800.2, 299.8]]), SIZE, 30).area == 709


def test_what_is_outside_or_no_lane_has_no_iou():
    lanes = [vertical(-500), vertical(800)[:1], np.empty((0, 2)), np.full((4, 2), 1e12)]
    assert draw_lane(lanes[0], SIZE, 30) is None
    assert not lane_ious(lanes, [*lanes, vertical(800)], SIZE, 30).any()
    assert lane_ious([], lanes, SIZE, 30).shape == (0, 4)
