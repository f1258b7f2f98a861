# LaneATT on CULane as its authors train it: whole images, eight per batch, 15 epochs.
_base_ = [
    '../_base_/datasets/culane.py',
    '../_base_/models/laneatt_r18.py',
    '../_base_/schedules/laneatt.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    # At most 25 and 10 pixels of shift in the original image.
    dict(
        type='LaneRandomAffine',
        max_rotation=6,
        scale_range=(0.85, 1.15),
        max_shift=(25 / 1640, 10 / 590),
    ),
    dict(type='LaneResize', scale=(640, 360)),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=(640, 360)),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
