# CondLaneNet with ResNet-18 on 800x320 input. BGR images, normalised as its authors do.
model = dict(
    type='LaneDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[75.3, 76.6, 77.6], std=[50.5, 53.8, 54.3]
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        out_indices=(1, 2, 3),
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'),
    ),
    neck=dict(type='TransConvFPN', in_channels=[128, 256, 512], out_channels=64),
    lane_head=dict(type='CondLaneHead', in_channels=64, image_size=(800, 320)),
)
