"""Properties of the lane distortion score."""

import numpy as np
import pytest
import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement

from mmptq.lanes.geometry import LaneDistortion, lane_distortion

ROWS = np.arange(300, 591, 10)


def lanes(seed: int = 0, count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    starts = 300 * np.arange(count) + 200
    return [
        np.stack([x + rng.uniform(-0.5, 0.5) * (590 - ROWS), ROWS], axis=1)[::-1] for x in starts
    ]


def shifted(which: list[np.ndarray], pixels: float) -> list[np.ndarray]:
    return [lane + [pixels, 0] for lane in which]


def test_equal_lanes_have_none():
    assert lane_distortion(lanes(), lanes(), ROWS) == 0
    assert lane_distortion(lanes(), lanes()[::-1], ROWS) == 0
    assert lane_distortion([lanes()[0][:1]], [lanes()[0][:1]], ROWS) == 0


@pytest.mark.parametrize('pixels', [0.5, 7, -29.9])
def test_a_shift_below_the_penalty_is_the_score(pixels):
    assert lane_distortion(lanes(), shifted(lanes(), pixels), ROWS) == pytest.approx(abs(pixels))


@pytest.mark.parametrize('penalty', [30, 12])
def test_losing_all_lanes_gives_the_penalty(penalty):
    assert lane_distortion(lanes(), [], ROWS, penalty) == penalty


def test_lanes_from_nowhere():
    count = len(ROWS)
    assert lane_distortion([], lanes(count=1), ROWS, 30) == 30 * count
    assert lane_distortion(lanes(count=2), lanes(count=3), ROWS) == pytest.approx(15)
    assert lane_distortion([], [], ROWS) == 0


def test_no_jump_where_lanes_part():
    lane = lanes(count=1)
    shifts = np.arange(0, 80, 0.5)
    scores = np.array([lane_distortion(lane, shifted(lane, t), ROWS) for t in shifts])
    assert np.abs(np.diff(scores)).max() <= 0.5 + 1e-9
    assert scores == pytest.approx(np.minimum(shifts, 60))


def test_no_jump_with_several_lanes():
    shifts = np.arange(0, 900, 1.0)
    which = lanes(3)
    scores = [lane_distortion(which, shifted(which, t), ROWS) for t in shifts]
    assert np.abs(np.diff(scores)).max() <= 1 + 1e-9


def test_rows_that_only_one_reaches():
    lane = lanes(count=1)
    shorter = [lane[0][:20]]
    expected = 30 * (len(ROWS) - 20) / len(ROWS)
    assert lane_distortion(lane, shorter, ROWS) == pytest.approx(expected)
    assert lane_distortion(shorter, lane, ROWS) == pytest.approx(30 * (len(ROWS) - 20) / 20)


def test_takes_tensors_and_ignores_points_between_rows():
    lane = lanes(count=1)
    dense = np.linspace(lane[0][0], lane[0][-1], 97)
    assert lane_distortion(lane, [torch.from_numpy(dense)], ROWS) == pytest.approx(0, abs=1e-9)


def test_broken_lanes_count_as_lost():
    which = lanes()
    assert lane_distortion(which, [lane * np.nan for lane in which], ROWS) == 30


def test_penalty_must_be_positive():
    with pytest.raises(ValueError, match='must be positive, got 0'):
        lane_distortion([], [], ROWS, 0)


def sample(lanes: list[np.ndarray]) -> BaseDataElement:
    """A prediction for an image of 1640x590 pixels."""
    element = BaseDataElement(metainfo=dict(ori_shape=(590, 1640)))
    element.pred_lanes = [torch.from_numpy(lane.copy()) for lane in lanes]
    return element


def test_scores_of_samples():
    distortion = TASK_UTILS.build(dict(type='LaneDistortion'))
    float_samples = [sample(lanes()), sample(lanes(1)), sample(lanes(2))]
    quantized = [sample(lanes()), sample(shifted(lanes(1), 4.5)), sample([])]
    assert distortion(float_samples, quantized) == pytest.approx([0, 4.5, 30])


def test_rows_start_at_the_lower_border():
    two_rows = [np.array([[100.0, 590], [100, 580]])]
    one_row = [np.array([[100.0, 590], [100, 585]])]
    assert LaneDistortion()([sample(two_rows)], [sample(one_row)]) == [15]
    assert LaneDistortion(row_step=5)([sample(two_rows)], [sample(one_row)]) == [10]


def test_wrong_arguments_of_the_class():
    with pytest.raises(ValueError, match='row_step of LaneDistortion must be positive, got 0'):
        LaneDistortion(row_step=0)
    with pytest.raises(ValueError, match='must be positive, got -1'):
        LaneDistortion(penalty=-1)
    boxes = BaseDataElement(metainfo=dict(ori_shape=(590, 1640)))
    with pytest.raises(ValueError, match='has no pred_lanes'):
        LaneDistortion()([boxes], [boxes])
