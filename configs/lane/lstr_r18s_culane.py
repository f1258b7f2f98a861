# LSTR on CULane as its authors train it: whole images at half their size.
_base_ = [
    '../_base_/datasets/culane.py',
    '../_base_/models/lstr_r18s.py',
    '../_base_/schedules/lstr.py',
]

model = dict(lane_head=dict(max_lanes=4))
image_size = (820, 295)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    # The authors rotate and cut out nine tenths of the width and height, in 10 of 11 images.
    dict(
        type='LaneRandomAffine',
        max_rotation=10,
        scale_range=(1.11, 1.11),
        max_shift=(0.055, 0.055),
        prob=0.909,
    ),
    dict(type='LaneResize', scale=image_size),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
