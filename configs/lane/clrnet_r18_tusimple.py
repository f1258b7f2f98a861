# CLRNet on TuSimple as its authors train it: the lower 560 rows of all 3,626 images, 70 epochs.
_base_ = [
    '../_base_/datasets/tusimple_800x320.py',
    '../_base_/models/clrnet_r18.py',
    '../_base_/schedules/clrnet.py',
]

model = dict(
    lane_head=dict(
        max_lanes=5,
        mask_head=dict(num_lanes=6),
        loss_cls=dict(type='SoftmaxFocalLoss', loss_weight=6.0),
        loss_line=dict(type='SmoothL1Loss', loss_weight=0.5),
    )
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='LaneRandomAffine', max_rotation=10, scale_range=(0.8, 1.2), prob=0.7),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=40,
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
optim_wrapper = dict(optimizer=dict(lr=1e-3))
max_epochs = 70
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
