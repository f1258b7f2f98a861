"""Adapters: the common interface of all detector families."""

from .adapter import Adapter, build_adapter
from .anchor3d_head import Anchor3DHeadAdapter
from .anchor_head import AnchorHeadAdapter
from .cascade_rcnn import CascadeRCNNAdapter
from .center_head import CenterHeadAdapter
from .condinst_head import CondInstHeadAdapter
from .dense_head import DenseHeadAdapter
from .ground_truth import as_ground_truth, as_ground_truths
from .head_output import HeadOutput, flatten_levels
from .lane_conditional_head import CondLaneHeadAdapter
from .lane_head import LaneHeadAdapter
from .lane_keypoint_head import GANetHeadAdapter
from .lane_query_head import BezierHeadAdapter, CLRHeadAdapter, LaneATTHeadAdapter, LSTRHeadAdapter
from .lane_seg_head import LaneSegHeadAdapter
from .mono3d_head import FCOSMono3DHeadAdapter, SMOKEMono3DHeadAdapter
from .parta2_head import PartA2RPNHeadAdapter
from .pgd_head import PGDHeadAdapter
from .point_head import FCOSHeadAdapter, GFLHeadAdapter, RTMDetHeadAdapter
from .query_head import QueryHeadAdapter
from .query_head_3d import QueryHead3DAdapter
from .reppoints_head import RepPointsHeadAdapter
from .rtmdet_ins_head import RTMDetInsHeadAdapter
from .shape_aware_head import ShapeAwareHeadAdapter
from .tood_head import TOODHeadAdapter
from .two_stage import TwoStageAdapter
from .vfnet_head import VFNetHeadAdapter
from .yolov3_head import YOLOV3HeadAdapter
from .yolox_head import YOLOXHeadAdapter

__all__ = [
    'Adapter',
    'Anchor3DHeadAdapter',
    'AnchorHeadAdapter',
    'BezierHeadAdapter',
    'CLRHeadAdapter',
    'CenterHeadAdapter',
    'CondLaneHeadAdapter',
    'DenseHeadAdapter',
    'FCOSHeadAdapter',
    'FCOSMono3DHeadAdapter',
    'GANetHeadAdapter',
    'GFLHeadAdapter',
    'HeadOutput',
    'LSTRHeadAdapter',
    'LaneATTHeadAdapter',
    'LaneHeadAdapter',
    'LaneSegHeadAdapter',
    'QueryHead3DAdapter',
    'QueryHeadAdapter',
    'RTMDetHeadAdapter',
    'SMOKEMono3DHeadAdapter',
    'TwoStageAdapter',
    'YOLOXHeadAdapter',
    'as_ground_truth',
    'as_ground_truths',
    'build_adapter',
    'flatten_levels',
    'CascadeRCNNAdapter',
    'CondInstHeadAdapter',
    'RepPointsHeadAdapter',
    'RTMDetInsHeadAdapter',
    'TOODHeadAdapter',
    'VFNetHeadAdapter',
    'YOLOV3HeadAdapter',
    'PGDHeadAdapter',
    'ShapeAwareHeadAdapter',
    'PartA2RPNHeadAdapter',
]
