# LSTR on TuSimple, trained on all 3,626 training images.
_base_ = [
    '../_base_/datasets/tusimple.py',
    '../_base_/models/lstr_r18s.py',
    '../_base_/schedules/lstr.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    # The authors rotate and cut out nine tenths of the width and height, in 10 of 11 images.
    dict(
        type='LaneRandomAffine',
        max_rotation=10,
        scale_range=(1.11, 1.11),
        max_shift=(0.055, 0.055),
        prob=0.909,
    ),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type='TuSimpleLaneDataset',
                data_root={{_base_.data_root}},
                ann_file=f'label_data_{day}.json',
                pipeline=train_pipeline,
            )
            for day in ('0313', '0531', '0601')
        ]
    )
)
