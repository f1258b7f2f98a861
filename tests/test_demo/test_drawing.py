import numpy as np
import pytest

from mmptq.demo.drawing import Pose, coverage, paint, window
from mmptq.demo.shapes import DISTRACTORS, OBJECTS
from mmptq.demo.textures import TEXTURES, smooth_noise

SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float64)


def test_pose_maps_there_and_back():
    pose = Pose(30, 20, 8, 5, 0.7)
    points = np.array([(0.5, -0.25), (-1, 1)])
    u, v = pose.to_object(*pose.to_image(points).T)
    assert np.allclose(np.stack([u, v], axis=1), points)
    assert np.allclose(Pose(30, 20, 8, 5, np.pi / 2).to_image(np.array([(1, 0)])), [(30, 28)])


def test_window_is_clipped_to_the_image():
    assert window(Pose(2, 50, 6, 8, 0), 64, 60) == (slice(38, 60), slice(0, 15))
    rows, columns = window(Pose(-100, -100, 6, 8, 0), 64, 60)
    assert rows.start == rows.stop or columns.start == columns.stop


def test_coverage_of_a_square_and_its_hole():
    pose = Pose(20, 20, 10, 6, 0)
    rows, columns = slice(5, 40), slice(3, 40)
    full = coverage([SQUARE], pose, rows, columns)
    assert full.shape == (35, 37)
    assert full[20 - 5, 20 - 3] == 1
    assert full[20 - 5, 32 - 3] == 0
    # Pixels are points for cv2: a polygon covers both pixel rows that its edges lie on.
    assert full.sum() == pytest.approx(21 * 13, rel=0.06)
    holed = coverage([SQUARE, 0.5 * SQUARE], pose, rows, columns)
    assert holed[20 - 5, 20 - 3] == 0
    assert 8 * 4 < full.sum() - holed.sum() < 10 * 6


def test_paint_changes_covered_pixels_only():
    image = np.full((30, 30, 3), 7, np.float32)
    mask = np.zeros((30, 30), np.float32)
    mask[10:20, 12:18] = 1
    paint(image, mask, 'checker', Pose(15, 15, 5, 5, 0), np.random.default_rng(0))
    assert (image[mask == 0] == 7).all()
    assert (image[mask == 1] != 7).any(axis=1).all()
    assert image.min() >= 0
    assert image.max() <= 255


@pytest.mark.parametrize('name', TEXTURES)
def test_textures_are_in_range_and_vary(name):
    v, u = np.mgrid[-1:1:40j, -1:1:50j].astype(np.float32)
    mix = TEXTURES[name](np.random.default_rng(0), u, v)
    assert mix.shape == (40, 50)
    assert mix.min() >= 0
    assert mix.max() <= 1
    assert mix.std() > 0.1


def test_smooth_noise_has_more_energy_at_coarse_scales():
    noise = smooth_noise(np.random.default_rng(0), 64, 96, channels=3)
    assert noise.shape == (64, 96, 3)
    neighbour = np.abs(np.diff(noise, axis=1)).mean()
    distant = np.abs(noise[:, 24:] - noise[:, :-24]).mean()
    assert neighbour < 0.5 * distant


def test_silhouettes_fill_the_unit_square_and_classes_differ():
    for contours in [*(shape for shape, _ in OBJECTS.values()), *DISTRACTORS.values()]:
        points = np.concatenate(contours)
        assert np.abs(points).max() == pytest.approx(1, abs=0.06)
    assert len({texture for _, texture in OBJECTS.values()}) == len(OBJECTS)
    assert {texture for _, texture in OBJECTS.values()} <= set(TEXTURES)
