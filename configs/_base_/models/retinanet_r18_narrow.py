"""RetinaNet-R18 with the real architecture, narrow enough to be trained from scratch on a CPU.

24 instead of 64 base channels in the backbone, 64 instead of 256 in the FPN and the head, two
instead of four convolutions per head branch: 2.1 million parameters. Without pretrained weights
the FPN needs BatchNorm to converge within a few epochs; it is folded before quantization. Anchors
start at 24 instead of 32 pixels because the images are small.
"""

_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(
    backbone=dict(depth=18, base_channels=24, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=64, norm_cfg=dict(type='BN')),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        anchor_generator=dict(octave_base_scale=3),
        init_cfg=dict(
            type='Normal',
            layer='Conv2d',
            std=0.04,
            override=dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.01),
        ),
    ),
)
