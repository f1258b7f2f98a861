"""The generated demo data set in CULane's format.

Make it with ``python tools/dataset_converters/make_demo_data.py lane``.

Half of CULane's size: 120 rows are cut off here for 240 there, and the metric draws lanes 15 pixels
wide in 820x295, for 30 in 1640x590. Validation and test use the same images, with their categories.
"""

_base_ = './culane.py'

data_root = 'data/demo_lane/'
crop_rows = 120
image_size = (320, 128)
metainfo = dict(image_size=(820, 295))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneRandomAffine', max_rotation=4, scale_range=(0.85, 1.15), prob=0.5),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        category_lists=_base_.category_lists,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root, ann_file='list/val_gt.txt', metainfo=metainfo, pipeline=test_pipeline
    ),
)
val_evaluator = dict(image_size=(820, 295), lane_width=15)
test_evaluator = val_evaluator
