"""TuSimple lanes: 3,626 training and 2,782 test images of 1280x720 pixels.

Data: https://github.com/TuSimple/tusimple-benchmark as ``data/tusimple``, or under the folder that
the environment variable MMPTQ_DATA names. Training on the labels of 0313 and 0601, validation on
those of 0531, test on ``test_label.json``.
"""

dataset_type = 'TuSimpleLaneDataset'
data_root = '{{$MMPTQ_DATA:data}}/tusimple/'
image_size = (640, 360)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneRandomAffine', max_rotation=10, scale_range=(0.8, 1.2), prob=0.7),
    dict(type='LaneResize', scale=image_size),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type=dataset_type,
                data_root=data_root,
                ann_file=f'label_data_{day}.json',
                pipeline=train_pipeline,
            )
            for day in ('0313', '0601')
        ],
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
        ann_file='label_data_0531.json',
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
        ann_file='test_label.json',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='TuSimpleMetric')
test_evaluator = val_evaluator
