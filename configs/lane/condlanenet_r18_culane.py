# CondLaneNet on CULane as its authors train it: the lower 320 rows, 4 images per GPU, 16 epochs.
# Their compression, blur and random crops of training images are left out.
_base_ = [
    '../_base_/datasets/culane_800x320.py',
    '../_base_/models/condlanenet_r18.py',
    '../_base_/schedules/condlanenet.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneResize', scale={{_base_.image_size}}),
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
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
