# CondLaneNet on CULane as its authors train it: the lower 320 rows, 4 images per GPU, 16 epochs.
# Their compression, blur and random crops of training images are left out.
_base_ = [
    '../_base_/datasets/culane.py',
    '../_base_/models/condlanenet_r18.py',
    '../_base_/schedules/condlanenet.py',
]

crop_rows = 270
image_size = (800, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PhotoMetricDistortion'),
    dict(
        type='LaneRandomAffine',
        max_rotation=10,
        scale_range=(0.8, 1.2),
        max_shift=(0.1, 0.1),
        prob=0.6,
    ),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
