"""What a model gets from a lane pipeline."""

import numpy as np
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import TRANSFORMS
from mmengine.dataset import pseudo_collate

import mmptq.lanes.datasets  # noqa: F401


def results(lanes, **extra) -> dict:
    image = np.arange(3 * 40 * 60, dtype=np.uint8).reshape(40, 60, 3)
    return dict(
        img=image, img_path='a.jpg', ori_shape=(40, 60), img_shape=(40, 60), gt_lanes=lanes, **extra
    )


def pack(lanes, **extra):
    return TRANSFORMS.build(dict(type='PackLaneInputs'))(results(lanes, **extra))


INSIDE = np.array([[10, 39], [20, 5]], dtype=np.float32)
LEAVING = np.array([[70, -5], [50, 15], [30, 35]], dtype=np.float32)
OUTSIDE = INSIDE - [100, 0]


def test_lanes_are_cut_off_turned_and_dropped():
    packed = pack([INSIDE, OUTSIDE, LEAVING], gt_lane_slots=np.array([0, 1, 3]))
    sample = packed['data_samples']
    assert [lane.tolist() for lane in sample.gt_lanes] == [
        [[10, 39], [20, 5]],
        [[30, 35], [50, 15], [59, 6]],
    ]
    assert all(lane.dtype == torch.float32 for lane in sample.gt_lanes)
    assert sample.gt_lane_slots.tolist() == [0, 3]


def test_image_and_meta_information():
    packed = pack([], sample_idx=3, flip=False, num_lane_slots=4)
    image = results([])['img']
    assert torch.equal(packed['inputs'], torch.from_numpy(image).permute(2, 0, 1))
    meta = packed['data_samples'].metainfo
    assert meta['homography_matrix'].tolist() == np.eye(3).tolist()
    assert (meta['sample_idx'], meta['num_lane_slots'], meta['img_path']) == (3, 4, 'a.jpg')


def test_no_lanes():
    sample = pack([])['data_samples']
    assert sample.gt_lanes == [] and sample.gt_lane_slots.shape == (0,)


def test_no_annotation_at_all():
    data = results([])
    del data['gt_lanes']
    sample = TRANSFORMS.build(dict(type='PackLaneInputs'))(data)['data_samples']
    assert 'gt_lanes' not in sample and 'eval_ann_info' not in sample


def test_what_metrics_compare_with_is_not_moved():
    truth = dict(lanes=[OUTSIDE])
    assert pack([OUTSIDE], eval_ann_info=truth)['data_samples'].eval_ann_info is truth


def test_stock_preprocessor_takes_the_batch():
    batch = pseudo_collate([pack([INSIDE]), pack([])])
    preprocessor = DetDataPreprocessor(mean=[0, 0, 0], std=[1, 1, 1], pad_size_divisor=32)
    data = preprocessor(batch, training=True)
    assert data['inputs'].shape == (2, 3, 64, 64)
    assert [len(sample.gt_lanes) for sample in data['data_samples']] == [1, 0]


def test_unexpected_size_is_named():
    with pytest.raises(
        ValueError, match=r"'a.jpg' is 60x40 pixels, but its data set declares 64x40"
    ):
        pack([], image_size=(64, 40))
    assert 'inputs' in pack([], image_size=(60, 40))
