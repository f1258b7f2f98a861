# CLRNet on CULane as its authors train it: the lower 320 rows, 24 images per batch, 15 epochs.
_base_ = [
    '../_base_/datasets/culane.py',
    '../_base_/models/clrnet_r18.py',
    '../_base_/schedules/clrnet.py',
]

crop_rows = 270
image_size = (800, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='LaneRandomAffine', max_rotation=10, scale_range=(0.8, 1.2), prob=0.7),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=24, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
