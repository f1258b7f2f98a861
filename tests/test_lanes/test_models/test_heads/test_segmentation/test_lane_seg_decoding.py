"""Lanes from shares of pixels, by hand."""

import numpy as np
import pytest
import torch

from mmptq.lanes.models.heads.segmentation.lane_seg_decoding import LaneSegDecoding

META = dict(ori_shape=(120, 200), homography_matrix=np.diag([0.5, 0.5, 1.0]))


def straight(x: int, rows: slice) -> torch.Tensor:
    """Share 1 in a band of nine columns of a 100x60 input."""
    shares = torch.zeros(60, 100)
    shares[rows, x - 4 : x + 5] = 1
    return shares


def test_rows_columns_and_thresholds():
    shares = torch.stack([straight(30, slice(0, 60)), straight(70, slice(0, 60))])
    decoding = LaneSegDecoding(row_step=20)
    lanes = decoding(shares, torch.tensor([0.9, 0.5]), META)  # 0.5 is not above 0.5
    assert len(lanes) == 1
    assert lanes[0][:, 0].tolist() == pytest.approx([30] * len(lanes[0]))
    # Rows 120, 100, ... 0 of the original, and one spline sample between two rows.
    assert lanes[0][:, 1].tolist() == pytest.approx(list(range(60, -1, -5)), abs=1e-4)


def test_max_rows():
    decoding = LaneSegDecoding(row_step=20, max_rows=3)
    lane = decoding(straight(30, slice(0, 60))[None], torch.ones(1), META)[0]
    assert lane[:, 1].max() == 60 and lane[:, 1].min() == 40


def test_rows_cut_off_are_left_out():
    matrix = np.array([[0.5, 0, 0], [0, 0.5, -30], [0, 0, 1.0]])
    shares = straight(30, slice(0, 30))[None, :30]
    lane = LaneSegDecoding()(shares, torch.ones(1), META | dict(homography_matrix=matrix))[0]
    assert lane[:, 1].tolist() == pytest.approx([30, 25, 20, 15, 10, 5, 0], abs=1e-4)


def test_weak_and_single_points_are_no_lane():
    decoding = LaneSegDecoding(row_step=20)
    weak = 0.29 * straight(30, slice(0, 60))[None]
    single = straight(30, slice(36, 45))[None]  # covers row 40 alone
    assert decoding(weak, torch.ones(1), META) == []
    assert decoding(single, torch.ones(1), META) == []
    assert decoding(torch.zeros(0, 60, 100), torch.ones(0), META) == []


def test_a_lane_follows_a_curve():
    rows = torch.arange(60.0)
    xs = 20 + rows**2 / 60
    shares = torch.exp(-((torch.arange(100.0) - xs[:, None]) ** 2) / 30)
    lane = LaneSegDecoding(row_step=10)(shares[None], torch.ones(1), META)[0]
    inside = lane[:, 1] < 52  # below, the square that is averaged leaves the image
    assert (lane[inside, 0] - (20 + lane[inside, 1] ** 2 / 60)).abs().max() < 1.5
