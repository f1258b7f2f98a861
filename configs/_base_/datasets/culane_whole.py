"""CULane with whole images at 800x288 pixels, slightly rotated and scaled for training.

As SCNN and ENet-SAD use it; the plain config cuts off the sky and changes more.
"""

_base_ = './culane.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='LaneRandomAffine', max_rotation=2, scale_range=(0.95, 1.05), max_shift=(0.025, 0.025)
    ),
    dict(type='LaneResize', scale=(800, 288)),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=(800, 288)),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
