"""Chains of transforms."""

import numpy as np
import pytest
from lane_images import apply, largest_miss, marked

from mmptq.lanes.geometry import lanes_to_original

CHAIN = [
    dict(type='LaneCropTop', rows=23),
    dict(type='LaneRandomFlip', prob=1.0),
    dict(type='LaneRandomAffine', max_rotation=10),
    dict(type='LaneResize', scale=(300, 90)),
]


@pytest.mark.parametrize('seed', range(3))
def test_points_stay_on_their_spots(seed):
    np.random.seed(seed)
    results = apply(marked(), *CHAIN)
    assert results['img_shape'] == results['img'].shape[:2] == (90, 300)
    assert largest_miss(results) < 0.6
    assert results['gt_lanes'][0].dtype == np.float32


@pytest.mark.parametrize('chain', [CHAIN, CHAIN[::-1]])
def test_points_come_back_also_those_outside(chain):
    np.random.seed(0)
    results = apply(marked(), *chain)
    back = lanes_to_original(results['gt_lanes'], results)
    for lane, original in zip(back, marked()['gt_lanes'], strict=True):
        np.testing.assert_allclose(lane, original, atol=1e-3)


def test_images_without_annotation():
    results = {key: value for key, value in marked().items() if 'lane' not in key}
    assert 'gt_lanes' not in apply(results, *CHAIN)
