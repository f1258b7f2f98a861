# GANet on TuSimple as its authors train it: the lower 560 rows of all 3,626 images, 300 epochs.
_base_ = [
    '../_base_/datasets/tusimple_800x320.py',
    '../_base_/models/ganet_r18.py',
    '../_base_/schedules/ganet.py',
]

model = dict(lane_head=dict(score_thr=0.3, max_distance=4.0, min_keypoints=7))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PhotoMetricDistortion'),
    dict(type='LaneRandomAffine', max_rotation=10, scale_range=(0.8, 1.2), prob=0.6),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=32,
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
max_epochs = 300
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=1e-8,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
