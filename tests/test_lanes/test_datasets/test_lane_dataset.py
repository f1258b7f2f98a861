"""The base of lane readers."""

import numpy as np
import pytest
from mmdet.registry import DATASETS

from mmptq.lanes.datasets import LaneDataset


class OneLane(LaneDataset):
    """A reader of two lines."""

    def load_data_list(self):
        return [dict(img_path='a.jpg')]

    def read_lanes(self, info):
        return [np.array([[3.0, 4], [5, 60]]), np.array([[1.0, 1]])]


def test_registered():
    assert DATASETS.get('LaneDataset') is LaneDataset


def test_a_reader_needs_two_methods():
    info = OneLane(test_mode=True).get_data_info(0)
    assert [lane.tolist() for lane in info['gt_lanes']] == [[[5, 60], [3, 4]]]
    assert info['gt_lane_slots'].tolist() == [-1] and info['num_lane_slots'] == 0
    assert len(info['eval_ann_info']['lanes']) == 2


def test_missing_method_is_named():
    class NoLanes(LaneDataset):
        def load_data_list(self):
            return [dict(img_path='a.jpg')]

    with pytest.raises(NotImplementedError, match='NoLanes must implement read_lanes'):
        NoLanes().get_data_info(0)
