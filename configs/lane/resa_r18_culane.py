# RESA with ResNet-18 on CULane: 240 rows of sky cut off, eight images per batch, 12 epochs.
_base_ = [
    '../_base_/datasets/culane.py',
    '../_base_/models/resa_r18.py',
    '../_base_/schedules/lane_poly.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomAffine', max_rotation=2, scale_range=(1, 1), max_shift=(0, 0)),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
