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
