import numpy as np

from mmptq.demo.camera_renderer import CameraRenderer
from mmptq.demo.camera_rig import CAMERAS, intrinsic_matrix
from mmptq.demo.camera_solids import Viewpoint
from mmptq.demo.lidar_scene import LidarScene
from mmptq.demo.lidar_solids import STATIC, SolidList, make_actor
from mmptq.demo.lidar_terrain import Terrain

SIZE = 96, 56


def scene(*actors):
    flat = Terrain(np.zeros(1), np.zeros((1, 2)), np.zeros(1), 6.0)
    return LidarScene(flat, SolidList().to_solids(), list(actors), 0.0, 0.0, 0.0)


def car(x, seed=0):
    return make_actor(np.random.default_rng(seed), 'car', x, 0.0, 0.0, 0.0)


def render(street, seed=0):
    view = Viewpoint.of(CAMERAS[0].to_ego, intrinsic_matrix(*SIZE), *SIZE)
    return CameraRenderer(np.random.default_rng(seed), street).render(view, 0.0)


def test_an_empty_street():
    picture = render(scene())
    assert picture.image.shape == (56, 96, 3) and picture.image.dtype == np.uint8
    assert (picture.owner == STATIC).all()
    sky, road = picture.image[:10].mean(), picture.image[40:].mean()
    assert sky > road + 40


def test_a_car_is_where_it_projects_to_and_hides_what_is_behind():
    actor = car(14.0)
    picture = render(scene(actor))
    rows, columns = np.nonzero(picture.owner == 0)
    length, width, height = actor.size
    depth = 14 - 1.7 - length / 2
    focal = 0.755 * SIZE[0]
    assert abs((columns.max() - columns.min() + 1) - focal * width / depth) < 2.5
    assert abs(columns.mean() - 47.5) < 0.5
    assert abs(rows.max() - (28 + focal * 1.51 / depth)) < 2
    alone = (picture.owner == 0).sum()
    both = render(scene(actor, car(22.0, seed=1)))
    assert (both.owner == 0).sum() == alone
    assert (both.owner == 1).sum() < 0.2 * alone


def test_the_ground_under_a_car_is_darker():
    rng = np.random.default_rng(0)
    picture = render(scene(make_actor(rng, 'car', 8.0, 0.0, np.pi / 2, 0.0)))
    brightness = picture.image.astype(int).sum(2)
    rows, _ = np.nonzero(picture.owner == 0)
    gap = slice(rows.max() - 2, rows.max()), slice(45, 51)  # between the wheels
    assert (picture.owner[gap] == STATIC).all()
    assert brightness[gap].mean() < 0.75 * brightness[50:].mean()


def test_seeds():
    street = scene(car(14.0))
    one, two, three = render(street, 1), render(street, 1), render(street, 2)
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, three.image)
    assert np.array_equal(one.owner, three.owner)
