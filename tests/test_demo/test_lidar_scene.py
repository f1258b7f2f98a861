from collections import Counter

import numpy as np
import pytest

from mmptq.demo.lidar_clutter import Occupancy
from mmptq.demo.lidar_scene import make_scene
from mmptq.demo.nuscenes_infos import CLASSES

DURATION = 3.0


@pytest.fixture(scope='module')
def scenes():
    return [make_scene(np.random.default_rng([7, index]), DURATION) for index in range(12)]


def corners(actor, time):
    along, across = np.array(actor.size[:2]) / 2
    box = np.array([[along, across], [along, -across], [-along, -across], [-along, across]])
    turn = np.array(
        [[np.cos(actor.yaw), np.sin(actor.yaw)], [-np.sin(actor.yaw), np.cos(actor.yaw)]]
    )
    return box @ turn + actor.position(time)


def separated(one, two):
    """Separating axis test of two convex quadrilaterals."""
    for shape in (one, two):
        for edge in np.roll(shape, -1, axis=0) - shape:
            normal = np.array([-edge[1], edge[0]])
            first, second = one @ normal, two @ normal
            if first.max() <= second.min() or second.max() <= first.min():
                return True
    return False


def test_rectangles_are_taken_once():
    occupancy = Occupancy()
    assert occupancy.take((0, 1), (0, 1))
    assert not occupancy.take((0.5, 2), (0.5, 2))
    assert occupancy.take((1, 2), (0, 1))


@pytest.mark.parametrize('time', [0.0, 1.5, DURATION])
def test_nothing_collides(scenes, time):
    for scene in scenes[:4]:
        shapes = [corners(actor, time) for actor in scene.actors]
        for index, shape in enumerate(shapes):
            assert all(separated(shape, other) for other in shapes[:index])
        ego = scene.ego_pose(time)
        car = np.array([[3.4, 0.9], [3.4, -0.9], [-0.7, -0.9], [-0.7, 0.9]]) + [ego.x, ego.y]
        assert all(separated(shape, car) for shape in shapes)


def test_all_classes_appear(scenes):
    counts = Counter(actor.kind.label for scene in scenes for actor in scene.actors)
    assert all(counts[label] >= 12 for label in CLASSES)
    assert counts[None] > 0  # labelled things that are not evaluated


def test_some_move_and_some_stand(scenes):
    speeds = [actor.speed for scene in scenes for actor in scene.actors]
    assert 0.1 < np.mean(np.array(speeds) > 0) < 0.8


def test_ego_drives_forward_and_sways_little(scenes):
    for scene in scenes:
        start, end = scene.ego_pose(0.0), scene.ego_pose(DURATION)
        assert end.x - start.x == pytest.approx(scene.ego_speed * DURATION)
        assert abs(end.y - start.y) < 0.6


def test_same_seed_same_scene():
    one, two = (make_scene(np.random.default_rng(5), DURATION) for _ in range(2))
    assert one.actors == two.actors
    assert one.ego_pose(1.0) == two.ego_pose(1.0)
    np.testing.assert_array_equal(one.solids(1.0).centre, two.solids(1.0).centre)
