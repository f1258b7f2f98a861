import numpy as np
import pytest

from mmptq.demo.lidar_terrain import KERB, Terrain


@pytest.fixture
def terrain():
    return Terrain.random(np.random.default_rng(0), road_half_width=6.0)


def test_flat_ground_is_met_where_trigonometry_says():
    flat = Terrain(np.zeros(1), np.zeros((1, 2)), np.zeros(1), road_half_width=1e9)
    angle = np.radians([-30.0, -10.0])
    rays = np.stack([np.cos(angle), np.zeros(2), np.sin(angle)], axis=1)
    distance = flat.intersect(np.array([0.0, 0.0, 2.0]), rays)
    assert distance == pytest.approx([2 / np.sin(np.radians(30)), 2 / np.sin(np.radians(10))])


def test_hits_lie_on_wavy_ground(terrain):
    rng = np.random.default_rng(1)
    azimuth, elevation = rng.uniform(-np.pi, np.pi, 500), rng.uniform(-0.5, -0.05, 500)
    rays = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=1,
    )
    origin = np.array([3.0, -2.0, 1.8])
    points = origin + terrain.intersect(origin, rays)[:, None] * rays
    away_from_kerb = np.abs(np.abs(points[:, 1]) - 6) > 2
    ground = terrain.height(points[:, 0], points[:, 1])
    assert away_from_kerb.sum() > 200
    assert np.abs(points[:, 2] - ground)[away_from_kerb].max() < 0.02


def test_rays_going_up_never_meet_the_ground(terrain):
    assert terrain.intersect(np.array([0, 0, 2.0]), np.array([[1.0, 0, 0], [0, 0, 1.0]])).min() == (
        np.inf
    )


def test_pavements_are_a_kerb_higher(terrain):
    step = terrain.height(5.0, 6.0 + 1e-6) - terrain.height(5.0, 6.0 - 1e-6)
    assert step == pytest.approx(KERB, abs=1e-4)
