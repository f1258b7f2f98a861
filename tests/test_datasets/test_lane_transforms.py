"""Lane points stay on what they mark while the image is moved; and the checks of each transform."""

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS

import mmptq.datasets  # noqa: F401
from mmptq.datasets import lanes_to_original

POINTS = np.array([[60.0, 100], [90, 80], [130, 60]], dtype=np.float32)
STEPS = {
    'crop': dict(type='LaneCropTop', rows=23),
    'resize': dict(type='LaneResize', scale=(300, 90)),
    'flip': dict(type='LaneRandomFlip', prob=1.0),
    'affine': dict(type='LaneRandomAffine', max_rotation=15),
}


def marked(points=POINTS, size=(200, 120)) -> dict:
    """An image with a Gaussian spot at each point, one per channel."""
    xs, ys = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    spots = [np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 18) for x, y in points]
    image = (255 * np.stack(spots, axis=2)).astype(np.uint8)
    return dict(
        img=image,
        img_path='a.jpg',
        ori_shape=image.shape[:2],
        img_shape=image.shape[:2],
        gt_lanes=[points.copy(), np.array([[-20, 110], [20.0, 90]], dtype=np.float32)],
        gt_lane_slots=np.array([2, 0]),
        num_lane_slots=4,
    )


def apply(results: dict, *names: str) -> dict:
    for name in names:
        results = TRANSFORMS.build(STEPS[name])(results)
    return results


def spot_centres(image: np.ndarray) -> np.ndarray:
    """Centre of mass of each channel, (3, 2)."""
    moments = [cv2.moments(np.ascontiguousarray(image[..., channel])) for channel in range(3)]
    return np.array([[m['m10'] / m['m00'], m['m01'] / m['m00']] for m in moments])


@pytest.mark.parametrize(
    ('names', 'tolerance'),
    [
        (['crop'], 0.1),
        (['flip'], 0.1),
        (['affine'], 0.3),
        # Resize multiplies coordinates, while pixel middles move by up to half a pixel more.
        (['resize'], 0.35),
        (['crop', 'affine', 'flip', 'resize'], 0.6),
    ],
)
@pytest.mark.parametrize('seed', range(3))
def test_points_stay_on_their_spots(names, tolerance, seed):
    np.random.seed(seed)
    results = apply(marked(), *names)
    assert results['img_shape'] == results['img'].shape[:2]
    np.testing.assert_allclose(results['gt_lanes'][0], spot_centres(results['img']), atol=tolerance)
    assert results['gt_lanes'][0].dtype == np.float32


def test_points_come_back_from_any_chain():
    np.random.seed(0)
    results = apply(marked(), 'crop', 'flip', 'resize', 'affine')
    back = lanes_to_original(results['gt_lanes'], results)
    for lane, original in zip(back, marked()['gt_lanes'], strict=True):
        np.testing.assert_allclose(lane, original, atol=1e-3)


def test_meta_information_of_each_step():
    results = apply(marked(), 'crop', 'flip', 'resize')
    assert results['crop_offset'] == (0, 23)
    assert results['scale_factor'] == (300 / 200, 90 / 97)
    assert results['flip'] and results['flip_direction'] == 'horizontal'


def test_flip_mirrors_positions_but_not_unknown_ones():
    results = marked()
    results['gt_lane_slots'] = np.array([3, -1])
    assert apply(results, 'flip')['gt_lane_slots'].tolist() == [0, -1]
    del results['gt_lane_slots']
    assert 'gt_lane_slots' not in apply(results, 'flip')


def test_nothing_happens_at_probability_zero():
    results = marked()
    for kind in ('LaneRandomFlip', 'LaneRandomAffine'):
        results = TRANSFORMS.build(dict(type=kind, prob=0.0))(results)
    np.testing.assert_array_equal(results['img'], marked()['img'])
    np.testing.assert_array_equal(results['gt_lanes'][0], POINTS)
    assert results['flip'] is False and 'homography_matrix' not in results


def test_affine_draws_within_its_ranges():
    step = TRANSFORMS.build(
        dict(type='LaneRandomAffine', max_rotation=5, scale_range=(0.9, 1.1), max_shift=(0.2, 0))
    )
    np.random.seed(0)
    angles, factors, shifts, none = np.array([step._draw() for _ in range(200)]).T
    assert np.abs(angles).max() <= 5 and np.ptp(angles) > 8
    assert factors.min() >= 0.9 and factors.max() <= 1.1
    assert 0.15 < np.abs(shifts).max() <= 0.2 and not none.any()


def test_images_without_annotation():
    results = {key: value for key, value in marked().items() if 'lane' not in key}
    assert 'gt_lanes' not in apply(results, 'crop', 'resize', 'flip', 'affine')


def test_crop_of_everything_names_the_image():
    with pytest.raises(ValueError, match=r"'a.jpg' is 200x120 .*rows=120\) would leave nothing"):
        TRANSFORMS.build(dict(type='LaneCropTop', rows=120))(marked())


@pytest.mark.parametrize(
    ('step', 'message'),
    [
        (dict(type='LaneCropTop', rows=-1), 'not -1'),
        (dict(type='LaneResize', scale=(0, 5)), 'positive width and height'),
        (dict(type='LaneRandomFlip', prob=2), 'between 0 and 1'),
        (dict(type='LaneRandomAffine', prob=-1), 'between 0 and 1'),
        (dict(type='LaneRandomAffine', scale_range=(1.2, 0.8)), 'scale_range'),
    ],
)
def test_impossible_settings_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(step)
