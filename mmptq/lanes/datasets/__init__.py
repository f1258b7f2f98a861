"""Lane data sets and transforms for mmdet."""

from .culane_dataset import CULaneDataset
from .lane_crop_top import LaneCropTop
from .lane_dataset import LaneDataset
from .lane_folder_dataset import LaneFolderDataset
from .lane_random_affine import LaneRandomAffine
from .lane_random_flip import LaneRandomFlip
from .lane_resize import LaneResize
from .pack_lane_inputs import PackLaneInputs
from .tusimple_lane_dataset import TuSimpleLaneDataset

__all__ = [
    'CULaneDataset',
    'LaneCropTop',
    'LaneDataset',
    'LaneFolderDataset',
    'LaneRandomAffine',
    'LaneRandomFlip',
    'LaneResize',
    'PackLaneInputs',
    'TuSimpleLaneDataset',
]
