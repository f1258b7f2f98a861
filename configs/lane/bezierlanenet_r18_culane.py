# BezierLaneNet with ResNet-18 on CULane: whole images, 36 epochs.
_base_ = [
    '../_base_/datasets/culane.py',
    '../_base_/models/bezierlanenet_r18.py',
    '../_base_/schedules/bezierlanenet.py',
]

model = dict(lane_head=dict(score_thr=0.95, max_lanes=4))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='LaneRandomAffine',
        max_rotation=10,
        scale_range=(0.8, 1.2),
        max_shift=(50 / 1640, 20 / 590),
    ),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=38,
        contrast_range=(0.7, 1.3),
        saturation_range=(0.7, 1.3),
        hue_delta=27,
    ),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=20, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
