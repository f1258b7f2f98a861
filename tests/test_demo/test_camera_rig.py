import numpy as np
import pytest

from mmptq.demo.camera_rig import CAMERAS, intrinsic_matrix

MERGED = (  # the order in which mmdet3d's nuScenes metric numbers the images of a sample
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_FRONT_LEFT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
)


def test_order_is_that_of_the_metric():
    assert tuple(camera.channel for camera in CAMERAS) == MERGED


@pytest.mark.parametrize('camera', CAMERAS, ids=lambda camera: camera.channel)
def test_quaternion_is_the_rotation(camera):
    from pyquaternion import Quaternion

    matrix = Quaternion(camera.rotation).rotation_matrix
    np.testing.assert_allclose(matrix, camera.to_ego[:3, :3], atol=1e-12)


def project(camera, point):
    matrix = intrinsic_matrix(200, 100)
    place = (np.linalg.inv(camera.to_ego) @ [*point, 1.0])[:3]
    return place[2], *(matrix @ place / place[2])[:2]


def test_points_by_hand():
    front, right, left, back = CAMERAS[:4]
    # 10 m ahead of the front camera, 1 m to the left and 0.5 m up: 151 pixels per unit.
    depth, x, y = project(front, (11.7, 1.0, 2.01))
    assert (depth, x, y) == pytest.approx((10, 100 - 15.1, 50 - 7.55))
    assert project(back, (-9.97, 0.0, 1.57)) == pytest.approx((10, 100, 50))
    ahead = (20.0, 0.0, 1.5)
    assert project(right, ahead)[1] < 0 < 200 < project(left, ahead)[1]


def test_every_direction_is_seen():
    edge = np.degrees(np.arctan(1 / (2 * 0.755)))
    for degrees in range(360):
        turn = [abs((degrees - camera.degrees + 180) % 360 - 180) for camera in CAMERAS]
        assert min(turn) < edge
