import numpy as np
import pytest

from mmptq.demo.camera_rig import CAMERAS, intrinsic_matrix
from mmptq.demo.camera_solids import SolidCaster, Viewpoint
from mmptq.demo.lidar_catalog import BOX, CYLINDER, ELLIPSOID
from mmptq.demo.lidar_solids import SolidList

UP = np.array([0.0, 0.0, 1.0])


def look_ahead(width=101, height=61):
    """From the origin along x, with a pixel exactly in the middle."""
    pose = CAMERAS[0].to_ego.copy()
    pose[:3, 3] = 0
    return Viewpoint.of(pose, intrinsic_matrix(width, height), width, height)


def cast(shape, centre, size, yaw=0.0, sun=UP, behind=np.inf):
    solids = SolidList()
    solids.add(shape, centre, size, 'metal', yaw)
    view = look_ahead()
    caster = SolidCaster(view, solids.to_solids(), sun)
    window = caster.window(0)
    depth = np.full((61, 101), behind)
    return view, window, caster.cast(0, window, depth[window])


def middle(hit):
    """The number of the pixel in the middle of the image among the pixels of a hit."""
    rows, columns = np.nonzero(hit.seen)
    rows, columns = rows + hit.window[0].start, columns + hit.window[1].start
    (found,) = np.flatnonzero((rows == 30) & (columns == 50))
    return found


@pytest.mark.parametrize('shape', [BOX, CYLINDER, ELLIPSOID])
def test_depth_in_the_middle(shape):
    _, _, hit = cast(shape, (10, 0, 0), (2, 4, 6))
    assert hit.depth[middle(hit)] == pytest.approx(9)
    assert hit.thickness[middle(hit)] == pytest.approx(2)


def test_a_box_covers_its_projection():
    view, window, hit = cast(BOX, (10, 0, 0), (2, 4, 3))
    # The near face, 9 m away, hides the others: 4/9 of 76.255 pixels wide, 3/9 high.
    reach = view.focal / 9
    columns = np.abs(np.arange(101) + 0.5 - 50.5) < 2 * reach
    rows = np.abs(np.arange(61) + 0.5 - 30.5) < 1.5 * reach
    image = np.zeros((61, 101), bool)
    image[window] = hit.seen
    assert np.array_equal(image, rows[:, None] & columns)
    assert hit.depth == pytest.approx(9)  # depth, not distance: the same over the whole face
    assert set(hit.face) == {0}


def test_a_turned_box():
    _, _, hit = cast(BOX, (10, 0, 0), (2, 4, 3), yaw=np.pi / 2)
    assert hit.depth.min() == pytest.approx(8)


def test_what_is_behind_is_not_hit():
    assert cast(BOX, (10, 0, 0), (2, 4, 6), behind=8.9)[2] is None
    assert cast(BOX, (10, 0, 0), (2, 4, 6), behind=9.1)[2] is not None


@pytest.mark.parametrize('shape', [BOX, CYLINDER, ELLIPSOID])
def test_light_from_behind_the_camera(shape):
    toward = np.array([-1.0, 0, 0])
    _, _, hit = cast(shape, (10, 0, 0), (2, 4, 6), sun=toward)
    assert hit.light[middle(hit)] == pytest.approx(1, abs=1e-3)
    _, _, hit = cast(shape, (10, 0, 0), (2, 4, 6), sun=-toward)
    assert hit.light[middle(hit)] == 0


def test_solids_beside_and_behind_are_left_out():
    solids = SolidList()
    for centre in ((-10, 0, 0), (10, 0, 0), (5, 0, 0), (200, 0, 0)):
        solids.add(BOX, centre, (2, 2, 2), 'metal')
    solids.add(BOX, (10, 30, 0), (2, 2, 2), 'metal')
    caster = SolidCaster(look_ahead(), solids.to_solids(), UP)
    assert caster.order().tolist() == [2, 1, 4]
    assert caster.window(4) is None
    # Around the camera: anything may be in any pixel.
    around = SolidList()
    around.add(BOX, (0.5, 0, -1), (4, 2, 1), 'metal')
    caster = SolidCaster(look_ahead(), around.to_solids(), UP)
    assert caster.window(0) == (slice(0, 61), slice(0, 101))
