"""CULane with 800x320 pixels of the lower 320 rows."""

_base_ = ['culane.py']

crop_rows = 270
image_size = (800, 320)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
