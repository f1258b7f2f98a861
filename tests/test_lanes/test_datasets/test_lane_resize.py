"""Resize to a fixed size."""

import numpy as np
import pytest
from lane_images import POINTS, apply, largest_miss, marked


@pytest.mark.parametrize('scale', [(300, 90), (100, 240)])
def test_points_are_multiplied(scale):
    results = apply(marked(), dict(type='LaneResize', scale=scale))
    factors = scale[0] / 200, scale[1] / 120
    assert results['scale_factor'] == factors
    assert results['img'].shape == (scale[1], scale[0], 3)
    np.testing.assert_allclose(results['gt_lanes'][0], POINTS * factors, rtol=1e-6)
    # Middles of pixels move by up to half a new pixel less one of the scale.
    assert largest_miss(results) < max(abs(factor - 1) / 2 for factor in factors) + 0.1


def test_impossible_size_is_refused():
    with pytest.raises(ValueError, match='scale of LaneResize must be two positive sizes'):
        apply(marked(), dict(type='LaneResize', scale=(0, 5)))
