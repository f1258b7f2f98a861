# BezierLaneNet with ResNet-18 on TuSimple: 400 epochs on all 3,626 training images.
_base_ = [
    '../_base_/datasets/tusimple.py',
    '../_base_/models/bezierlanenet_r18.py',
    '../_base_/schedules/bezierlanenet.py',
]

model = dict(lane_head=dict(score_thr=0.5, max_lanes=5, lane_width=6))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='LaneRandomAffine',
        max_rotation=10,
        scale_range=(0.8, 1.2),
        max_shift=(50 / 1280, 20 / 720),
    ),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=38,
        contrast_range=(0.7, 1.3),
        saturation_range=(0.7, 1.3),
        hue_delta=27,
    ),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=20,
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
    ),
)

max_epochs = 400
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
