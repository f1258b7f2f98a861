import numpy as np
import pytest

from mmptq.demo.scene_2d import CLASSES, MIN_VISIBLE, Scene, render_scene
from mmptq.demo.shapes import OBJECTS


def test_same_seed_same_image_and_labels():
    image, objects = render_scene(np.random.default_rng([3, 0, 7]), 160, 128)
    again, same_objects = render_scene(np.random.default_rng([3, 0, 7]), 160, 128)
    other, _ = render_scene(np.random.default_rng([3, 0, 8]), 160, 128)
    assert np.array_equal(image, again)
    assert [thing.label for thing in objects] == [thing.label for thing in same_objects]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(objects, same_objects, strict=True))
    assert not np.array_equal(image, other)


@pytest.mark.parametrize(('width', 'height'), [(64, 64), (97, 211), (400, 120)])
def test_any_size(width, height):
    image, objects = render_scene(np.random.default_rng(0), width, height)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert objects
    assert all(thing.mask.shape == (height, width) for thing in objects)


def test_masks_are_disjoint_and_labels_are_classes():
    for seed in range(5):
        _, objects = render_scene(np.random.default_rng(seed), 160, 128)
        assert np.sum([thing.mask for thing in objects], axis=0).max() == 1
        assert all(0 <= thing.label < len(CLASSES) for thing in objects)


def test_objects_occlude_each_other_but_stay_visible():
    occluded = 0
    for seed in range(4):
        scene = Scene(np.random.default_rng(seed), 128, 128)
        for label in [0, 1, 2, 3, 4, 5] * 3:
            contours, texture = OBJECTS[CLASSES[label]]
            scene.add(contours, texture, label)
        for thing, size in zip(scene.objects(), scene.sizes, strict=True):
            visible = thing.mask.sum()
            assert visible >= MIN_VISIBLE * size
            occluded += visible < 0.9 * size
    assert occluded > 0


def test_distractors_hide_objects_and_carry_no_label():
    scene = Scene(np.random.default_rng(0), 128, 128)
    contours, texture = OBJECTS['button']
    scene.add(contours, texture, None)
    assert scene.objects() == []
    assert (scene.owner == 0).any()
