"""Faster R-CNN-R18 with the real architecture, as narrow as ``retinanet_r18_narrow.py``.

64 channels in FPN and RPN, 256 in the RoI head's linear layers, BatchNorm in the FPN. Anchors are
6 instead of 8 strides wide; 300 instead of 1000 proposals suit the small images.
"""

_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(depth=18, base_channels=24, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=64, norm_cfg=dict(type='BN')),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[6])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=600, max_per_img=300), rcnn=dict(sampler=dict(num=128))
    ),
    test_cfg=dict(rpn=dict(nms_pre=600, max_per_img=300)),
)
