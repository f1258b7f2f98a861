"""CULane: 88,880 training, 9,675 validation and 34,680 test images of 1640x590 pixels.

Data: https://xingangpan.github.io/projects/CULane.html as ``data/culane``, or under the folder that
the environment variable MMPTQ_DATA names; only images, ``.lines.txt`` files and ``list/`` are read.
Validation uses ``list/val_gt.txt``; the test scores each of the nine categories.
"""

dataset_type = 'CULaneDataset'
data_root = '{{$MMPTQ_DATA:data}}/culane/'
crop_rows = 240
image_size = (800, 288)
category_lists = dict(
    normal='list/test_split/test0_normal.txt',
    crowd='list/test_split/test1_crowd.txt',
    dazzle='list/test_split/test2_hlight.txt',
    shadow='list/test_split/test3_shadow.txt',
    noline='list/test_split/test4_noline.txt',
    arrow='list/test_split/test5_arrow.txt',
    curve='list/test_split/test6_curve.txt',
    cross='list/test_split/test7_cross.txt',
    night='list/test_split/test8_night.txt',
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneRandomAffine', max_rotation=6, scale_range=(0.8, 1.2), prob=0.7),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=12,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='list/train_gt.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='list/val_gt.txt',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='list/test.txt',
        category_lists=category_lists,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='CULaneMetric')
test_evaluator = val_evaluator
