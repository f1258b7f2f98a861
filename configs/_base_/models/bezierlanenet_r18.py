# BezierLaneNet with ResNet-18 down to a 16th of the input, for any size of it.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(type='FeatureFlipNeck', in_channels=256, mid_channels=64, dilations=(4, 8)),
    lane_head=dict(type='BezierHead', in_channels=256),
)
ptq = dict(
    # The branch that helps training does not run in a test.
    rules=[dict(name='lane_head.mask_head.*', weight=None, act=None, reason='training only')],
    # As one unit the head would learn its scores alone: their squared errors are hundreds of times
    # those of the control points, which are shares of the image.
    units=[dict(name='lane_head', granularity='layer')],
)
