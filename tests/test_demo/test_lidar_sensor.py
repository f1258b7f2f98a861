import numpy as np
import pytest

from mmptq.demo.lidar_catalog import BOX, CYLINDER, ELLIPSOID
from mmptq.demo.lidar_sensor import (
    BEAMS,
    ELEVATION,
    MAX_RANGE,
    candidate_pairs,
    intersect,
    ray_directions,
    scan,
)
from mmptq.demo.lidar_solids import STATIC, SolidList
from mmptq.demo.lidar_terrain import Terrain

ORIGIN = np.array([0.0, 0.0, 1.84])
FLAT = Terrain(np.zeros(1), np.zeros((1, 2)), np.zeros(1), road_half_width=1e9)


def solids_of(*items):
    solids = SolidList()
    for owner, (shape, centre, size, extra) in enumerate(items):
        solids.add(shape, centre, size, 'metal', owner=owner, **extra)
    return solids.to_solids()


def distance_to(shape, direction, size=(2.0, 2.0, 2.0), **extra):
    """Casts one ray from the origin at a solid 10 m ahead."""
    solids = solids_of((shape, (10.0, 0.0, 0.0), size, extra))
    ray = np.array([direction], float)
    ray /= np.linalg.norm(ray)
    zero = np.zeros(1, int)
    return intersect(np.random.default_rng(0), np.zeros(3), ray, zero, solids, zero)[0]


def test_elevations_are_those_of_the_sensor():
    assert len(ELEVATION) == BEAMS == 32
    assert np.degrees(ELEVATION[[0, -1]]) == pytest.approx([-30.67, 10.67])


@pytest.mark.parametrize('shape', [BOX, CYLINDER, ELLIPSOID])
def test_central_ray_meets_the_near_face(shape):
    assert distance_to(shape, (1, 0, 0)) == pytest.approx(9.0)
    assert distance_to(shape, (-1, 0, 0)) == np.inf
    assert distance_to(shape, (0, 1, 0)) == np.inf


def test_shapes_differ_at_their_edges():
    towards_corner = (9.1, 0.95, 0.95)  # inside the box's silhouette only
    assert distance_to(BOX, towards_corner) < np.inf
    assert distance_to(CYLINDER, towards_corner) == np.inf
    assert distance_to(ELLIPSOID, towards_corner) == np.inf
    over_the_ball = (9.9, 0.0, 0.97)
    assert distance_to(CYLINDER, over_the_ball) < np.inf


def test_ball_is_met_at_the_analytic_distance():
    direction = np.array([10.0, 0.5, 0.3]) / np.linalg.norm([10.0, 0.5, 0.3])
    along = 10 * direction[0]
    expected = along - np.sqrt(1 - (100 - along**2))
    assert distance_to(ELLIPSOID, direction) == pytest.approx(expected)


def test_turned_box_is_met_at_its_corner():
    assert distance_to(BOX, (1, 0, 0), yaw=np.pi / 4) == pytest.approx(10 - np.sqrt(2))


def test_porous_solid_answers_inside_or_not_at_all():
    count = 4000
    solids = solids_of((BOX, (10.0, 0.0, 0.0), (2.0, 2.0, 2.0), dict(density=0.5)))
    rays = np.tile([1.0, 0.0, 0.0], (count, 1))
    index = np.arange(count)
    hit = intersect(
        np.random.default_rng(0), np.zeros(3), rays, index, solids, np.zeros(count, int)
    )
    met = np.isfinite(hit)
    assert np.all((hit[met] > 9) & (hit[met] < 11))
    assert met.mean() == pytest.approx(1 - np.exp(-0.5 * 2), abs=0.03)


def test_candidates_miss_no_meeting():
    rng = np.random.default_rng(0)
    items = []
    for shape in (BOX, CYLINDER, ELLIPSOID) * 8:
        centre = (*rng.uniform(-30, 30, 2), rng.uniform(0, 4))
        items.append((shape, centre, rng.uniform(0.3, 9, 3), dict(yaw=rng.uniform(-3, 3))))
    solids = solids_of(*items)
    rays = ray_directions(90, 0.3)
    ray, solid = candidate_pairs(ORIGIN, 0.3, 90, solids)
    found = np.full((len(rays), len(items)), np.inf)
    found[ray, solid] = intersect(rng, ORIGIN, rays, ray, solids, solid)
    every = np.indices(found.shape).reshape(2, -1)
    expected = intersect(rng, ORIGIN, rays, every[0], solids, every[1]).reshape(found.shape)
    assert np.isfinite(expected).sum() > 500
    np.testing.assert_allclose(found, expected)


def scan_wall(**extra):
    """A wall 10 m to the left of the vehicle hides a second one behind it."""
    solids = solids_of(
        (BOX, (0.0, 10.5, 3.0), (20.0, 1.0, 6.0), extra), (BOX, (0.0, 15.0, 1.0), (2, 1, 2), {})
    )
    return scan(np.random.default_rng(0), ORIGIN, -np.pi / 2, 360, FLAT, solids, actors=2)


def test_points_lie_on_surfaces_in_the_sensor_frame():
    sweep = scan_wall()
    assert sweep.points.dtype == np.float32 and sweep.points.shape[1] == 5
    wall = sweep.points[sweep.owner == 0]
    assert len(wall) > 500
    # The sensor's x axis points to the right of the vehicle, so the wall is at x = -10.
    assert wall[:, 0] == pytest.approx(-10.0, abs=0.15)
    assert np.std(wall[:, 0]) < 0.03
    ground = sweep.points[sweep.owner == STATIC]
    assert ground[:, 2] == pytest.approx(-1.84, abs=0.08)


def test_what_is_hidden_returns_nothing():
    sweep = scan_wall()
    assert 1 not in sweep.owner
    assert sweep.visibility[0] == 1 and sweep.visibility[1] == 0


def test_ring_intensity_and_range_are_plausible():
    points = scan_wall().points
    assert set(points[:, 4]) <= set(range(BEAMS))
    elevation = np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1))
    assert elevation == pytest.approx(ELEVATION[points[:, 4].astype(int)], abs=1e-3)
    assert np.all(points[:, 3] == np.round(points[:, 3]))
    assert points[:, 3].min() >= 0 and points[:, 3].max() <= 255
    assert np.linalg.norm(points[:, :3], axis=1).max() < MAX_RANGE + 0.2
