"""RetinaNet-R18 with the real architecture, narrow enough to be trained from scratch on a CPU.

24 instead of 64 base channels in the backbone, 64 instead of 256 in the FPN and the head, two
instead of four convolutions per head branch: 2.1 million parameters.
"""

_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(depth=18, base_channels=24, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2),
)
