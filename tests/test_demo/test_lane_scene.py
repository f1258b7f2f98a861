import numpy as np
import pytest

from mmptq.demo.lane_scene import label_lanes, render_lane_scene
from mmptq.demo.road_layout import CATEGORIES, RoadLayout
from mmptq.demo.road_view import RoadView


def test_same_seed_same_image_and_lanes():
    image, labels = render_lane_scene(np.random.default_rng([1, 2]), 328, 118, 'night')
    again, same = render_lane_scene(np.random.default_rng([1, 2]), 328, 118, 'night')
    other, _ = render_lane_scene(np.random.default_rng([1, 3]), 328, 118, 'night')
    assert np.array_equal(image, again) and not np.array_equal(image, other)
    assert labels.flags == same.flags
    assert all(np.array_equal(a, b) for a, b in zip(labels.lanes, same.lanes, strict=True))


@pytest.mark.parametrize('category', CATEGORIES)
def test_every_category_at_several_sizes(category):
    for seed, (width, height) in enumerate([(328, 118), (200, 100), (410, 300)]):
        image, labels = render_lane_scene(np.random.default_rng(seed), width, height, category)
        assert image.shape == (height, width, 3) and image.dtype == np.uint8
        assert image.std() > 3
        assert sum(labels.flags) == len(labels.lanes) <= 4
        assert bool(labels.lanes) == (category != 'cross')


def test_lanes_are_ordered_and_inside_the_image():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        view = RoadView.random(rng, 1640, 590, seed % 2 == 0)
        lanes = label_lanes(view, RoadLayout.random(rng, 'normal')).lanes
        for lane in lanes:
            assert lane.min() >= 0
            assert lane[:, 0].max() < 1640 and lane[:, 1].max() < 590
            assert (np.diff(lane[:, 1]) < 0).all()
        for left, right in zip(lanes, lanes[1:], strict=False):
            shared = np.intersect1d(left[:, 1], right[:, 1])
            x = [lane[np.isin(lane[:, 1], shared), 0] for lane in (left, right)]
            assert (x[0] < x[1]).all()


def test_unknown_category():
    with pytest.raises(ValueError, match="unknown category 'fog': choose one of normal, "):
        render_lane_scene(np.random.default_rng(0), 328, 118, 'fog')
