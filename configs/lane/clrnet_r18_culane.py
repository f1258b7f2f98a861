# CLRNet on CULane as its authors train it: the lower 320 rows, 24 images per batch, 15 epochs.
_base_ = [
    '../_base_/datasets/culane_800x320.py',
    '../_base_/models/clrnet_r18.py',
    '../_base_/schedules/clrnet.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='LaneRandomAffine', max_rotation=10, scale_range=(0.8, 1.2), prob=0.7),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=24, dataset=dict(pipeline=train_pipeline))
