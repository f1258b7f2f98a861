"""FCOS3D-R18 with the real architecture, narrow enough to be trained on a CPU.

24 instead of 64 base channels in the backbone, 64 instead of 256 in the FPN and 48 in the head, one
instead of two convolutions per tower, ordinary instead of deformable ones, and three levels for
small images. BatchNorm in the FPN, group norm in the head as in the real one. The stem and the
first stage stay as they are, too. Depth is predicted in multiples of 12 m from 20 m.
"""

_base_ = 'mmdet3d::_base_/models/fcos3d.py'

model = dict(
    backbone=dict(
        depth=18,
        base_channels=24,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
        init_cfg=None,
    ),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=64, num_outs=3, norm_cfg=dict(type='BN')),
    bbox_head=dict(
        in_channels=64,
        feat_channels=48,
        stacked_convs=1,
        strides=[8, 16, 32],
        regress_ranges=((-1, 40), (40, 96), (96, 1e8)),
        cls_branch=(48,),
        reg_branch=((24,), (48,), (24,), (24,), ()),
        dir_branch=(24,),
        attr_branch=(24,),
        centerness_branch=(24,),
        norm_cfg=dict(type='GN', num_groups=8, requires_grad=True),
        bbox_coder=dict(type='FCOS3DBBoxCoder', base_depths=((20.0, 12.0),), code_size=9),
        dcn_on_last_conv=False,
    ),
    test_cfg=dict(nms_pre=200, nms_thr=0.2, max_per_img=50),
)
